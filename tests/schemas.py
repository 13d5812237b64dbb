"""The pack's part of what a server answers to /object_info."""

from __future__ import annotations

from typing import Any

from devtools.comfyui.server import PACK_NAME


def pack_nodes(object_info: dict[str, Any]) -> dict[str, Any]:
    module = f"custom_nodes.{PACK_NAME}"
    return {name: schema for name, schema in object_info.items() if schema["python_module"] == module}


def inputs(schema: dict[str, Any]) -> dict[str, list[Any]]:
    """Those of a graph; the hidden ones are the server's own."""
    sections = (schema["input"].get(section, {}) for section in ("required", "optional"))
    return {name: spec for section in sections for name, spec in section.items()}
