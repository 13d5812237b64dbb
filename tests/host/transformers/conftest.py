"""Tests of style sharing in transformers: tiny random models of every family, against dense oracles."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from variant import Variant


@pytest.fixture
def variant(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Variant:
    """The variant given, its host constants set."""
    for module, name, value in request.param.constants:
        monkeypatch.setattr(importlib.import_module(module), name, value)
    return request.param
