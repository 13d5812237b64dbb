"""Tests on a real ComfyUI in this process, with tiny random models."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    """As the host executes nodes."""
    with torch.inference_mode():
        yield


@pytest.fixture
def split_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every conditioning in a model call of its own, as when memory is short."""
    import comfy.model_base

    monkeypatch.setattr(comfy.model_base.BaseModel, "memory_required", lambda *_, **__: float("inf"))
