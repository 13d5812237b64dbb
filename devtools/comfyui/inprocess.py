"""A ComfyUI in this process, and the pack loaded the way ComfyUI loads it: as the package `style_aligned`."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from devtools import ROOT


def start_host(*options: str) -> Path:
    """Make the ComfyUI at COMFYUI_PATH importable, with the options it would be started with; the path.

    Raises KeyError where COMFYUI_PATH is not set.
    """
    comfyui = Path(os.environ["COMFYUI_PATH"])
    sys.path.insert(0, str(comfyui))
    arguments, sys.argv = sys.argv, [sys.argv[0], *options]
    try:
        import comfy.options

        comfy.options.enable_args_parsing()
        import comfy.cli_args
    finally:
        sys.argv = arguments
    return comfyui


def load_pack() -> None:
    """Import the pack as `style_aligned`, once in a process: a second one would lack its modules."""
    if "style_aligned" in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(
        "style_aligned", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{ROOT} is not a package")
    pack = importlib.util.module_from_spec(spec)
    sys.modules["style_aligned"] = pack
    spec.loader.exec_module(pack)
