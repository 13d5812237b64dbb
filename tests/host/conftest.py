"""Tests on a real ComfyUI in this process, with tiny random models."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from comfy.model_patcher import ModelPatcher

sys.path.insert(0, str(Path(__file__).parent))

from tiny_models import tiny_model


@pytest.fixture(autouse=True)
def _as_in_nodes(_no_gradients: None) -> None:
    pass


@pytest.fixture(scope="module")
def model() -> ModelPatcher:
    """Of the family that most tests take."""
    return tiny_model("sd15")


@pytest.fixture
def split_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every conditioning in a model call of its own, as when memory is short."""
    import comfy.model_base

    monkeypatch.setattr(comfy.model_base.BaseModel, "memory_required", lambda *_, **__: float("inf"))
