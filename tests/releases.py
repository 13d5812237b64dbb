"""Tests of what only newer releases of ComfyUI have."""

from __future__ import annotations

from pathlib import Path

import pytest
from comfyui_version import __version__ as HOST

from devtools.comfyui.workflow import Graph, ObjectInfo, matching, widget_values

MINIATURES = Path(__file__).parent / "server" / "miniatures"
"""The extension that gives a server the files which the workflows for transformers name, of the models it knows."""


def since(release: str, what: str) -> pytest.MarkDecorator:
    """A mark for a test of `what`: skipped on hosts older than `release`, the first tested one that has it."""
    return pytest.mark.skipif(_numbers(HOST) < _numbers(release), reason=f"ComfyUI {HOST} has no {what}, {release} has")


def skip_without_its_model(graph: Graph, object_info: ObjectInfo) -> None:
    """Skips the test where the host has no text encoder for the graph, which loads a transformer in parts."""
    if not any(node["type"] == "CLIPLoader" for node in graph["nodes"]):
        return
    [loader] = matching(graph, "CLIPLoader")
    wanted = widget_values(loader, object_info)["type"]
    kinds = object_info["CLIPLoader"]["input"]["required"]["type"]
    known = kinds[0] if isinstance(kinds[0], list) else kinds[1]["options"]
    if wanted not in known:
        pytest.skip(f"ComfyUI {HOST} has no text encoder of type {wanted}")


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]
