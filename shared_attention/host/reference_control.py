"""ControlNet residuals without effect on the references, as in the authors' code: a hint is of the targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ..rows import Rows

Control = Mapping[str, Sequence[Tensor | None]]
"""The residuals by part of the model, in the order in which its layers take them; (rows, ...) each."""


def without_control(control: Control | None, rows: Rows) -> dict[str, list[Any]] | None:
    """The residuals of a model call with those of the reference rows set to zero."""
    if control is None:
        return None
    return {part: [_without_reference(residual, rows) for residual in residuals] for part, residuals in control.items()}


def _without_reference(residual: Tensor | None, rows: Rows) -> Tensor | None:
    if residual is None:
        return None
    # A residual may be one for all rows.
    residual = residual.expand(rows.count, *residual.shape[1:]).clone()
    rows.references(residual).zero_()
    return residual
