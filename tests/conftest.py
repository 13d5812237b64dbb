"""A real ComfyUI in the tests' own process, and the pack loaded the way ComfyUI loads it: as `style_aligned`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import hypothesis
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from devtools.inprocess import load_pack, start_host  # noqa: E402

if "COMFYUI_PATH" not in os.environ:
    raise pytest.UsageError("COMFYUI_PATH is not set; run the tests with: python dev.py test")
# No deadlines: a busy machine is no error. In CI the same examples each time: red means that the change is at fault.
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")
# The models are tiny: a second thread gains nothing, and waiting for it costs much where other processes are busy.
torch.set_num_threads(1)
COMFYUI = start_host("--cpu")
load_pack()


@pytest.fixture(scope="session")
def comfyui_path() -> Path:
    return COMFYUI
