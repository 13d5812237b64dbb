"""Tests of a given picture as the reference, in row 0 of the batch."""

from __future__ import annotations

import pytest
from comfy.model_patcher import ModelPatcher
from tiny_models import smooth_model


@pytest.fixture(scope="module")
def model() -> ModelPatcher:
    """One whose samplers stride: most of these tests sample to the end."""
    return smooth_model()
