"""The peak of memory that a piece of work needs beyond what was in use before it."""

from __future__ import annotations

import re
from pathlib import Path

import torch

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_RESET_PEAK = "5"


class PeakMemory:
    """A context; afterwards `peak` has the bytes, or None where the system does not tell.

    On a GPU it is what torch allocated, on Linux's CPU the resident memory, kernels' own buffers included.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.peak: int | None = None

    def __enter__(self) -> PeakMemory:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
        elif _CLEAR.exists():
            _CLEAR.write_text(_RESET_PEAK)
            self.before = _resident("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        if self.device.type == "cuda":
            self.peak = torch.cuda.max_memory_allocated() - self.before
        elif _CLEAR.exists():
            self.peak = _resident("VmHWM") - self.before


def _resident(name: str) -> int:
    match = re.search(rf"^{name}:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    return int(match[1]) * 1024 if match else 0
