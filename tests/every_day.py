"""Which of many parameters are tested every day, and which in detail only: the thorough tests, which CI runs too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest


def every_day(values: Sequence[Any], chosen: Iterable[Any]) -> list[Any]:
    """Parameters: `chosen` of the `values` every day, the others in detail."""
    chosen = list(chosen)
    if unknown := [each for each in chosen if each not in values]:
        raise ValueError(f"not among what is tested: {unknown}")
    return [pytest.param(value, marks=() if value in chosen else pytest.mark.thorough) for value in values]
