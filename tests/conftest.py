"""A real ComfyUI in the tests' own process, and the pack loaded the way ComfyUI loads it: as `style_aligned`."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]


def _start_host_in_process() -> Path:
    location = os.environ.get("COMFYUI_PATH")
    if not location:
        raise pytest.UsageError("COMFYUI_PATH is not set; run the tests with: python dev.py test")
    comfyui = Path(location)
    sys.path.insert(0, str(comfyui))
    arguments, sys.argv = sys.argv, [sys.argv[0], "--cpu"]
    try:
        import comfy.options

        comfy.options.enable_args_parsing()
        import comfy.cli_args
    finally:
        sys.argv = arguments
    return comfyui


def _load_pack() -> None:
    spec = importlib.util.spec_from_file_location(
        "style_aligned", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec is not None
    assert spec.loader is not None
    pack = importlib.util.module_from_spec(spec)
    sys.modules["style_aligned"] = pack
    spec.loader.exec_module(pack)


# The models are tiny: a second thread gains nothing, and waiting for it costs much where other processes are busy.
torch.set_num_threads(1)
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
COMFYUI = _start_host_in_process()
_load_pack()


@pytest.fixture(scope="session")
def comfyui_path() -> Path:
    return COMFYUI
