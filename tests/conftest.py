"""A real ComfyUI in the tests' own process, and the pack loaded the way ComfyUI loads it: as `style_aligned`."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from processes import Together  # noqa: E402

from devtools.comfyui.inprocess import load_pack, start_host  # noqa: E402

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

from comfyui_version import __version__ as COMFYUI_VERSION  # noqa: E402


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    return Together(config, log)


@pytest.fixture(scope="session")
def comfyui_path() -> Path:
    return COMFYUI


@pytest.fixture(scope="session", autouse=True)
def _versions(record_testsuite_property: Callable[[str, object], None]) -> None:
    """On what the tests ran, for the table of `dev.py matrix`."""
    versions = {"comfyui": COMFYUI_VERSION, "python": platform.python_version(), "torch": torch.__version__}
    for name, version in versions.items():
        record_testsuite_property(name, version)


@pytest.fixture
def _no_gradients() -> Iterator[None]:
    """As the host executes nodes."""
    with torch.inference_mode():
        yield


@pytest.fixture
def _full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """The icon models compute alike on CPUs with matrix tiles and without."""
    monkeypatch.setattr("toy.networks.half_precision", lambda _device: nullcontext())
