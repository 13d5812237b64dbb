"""The tests of host/ lend their tiny models and oracles."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "host")]


@pytest.fixture
def _no_gradients() -> Iterator[None]:
    """As the host executes nodes."""
    with torch.inference_mode():
        yield
