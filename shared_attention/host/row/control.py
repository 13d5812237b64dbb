"""ControlNets and the like give a reference nothing: their hints are for the targets, as in the authors' code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ...rows import Rows

Control = Mapping[str, Sequence[Tensor | None]]
"""What the host adds to a model's layers, by part of the model: (rows, ...), or one row for all."""


def without_control(control: Control | None, rows: Rows) -> dict[str, list[Tensor | None]] | None:
    """A copy of a model call's `control` that is zero in its reference rows."""
    if control is None:
        return None
    return {part: [_of_targets(residual, rows) for residual in residuals] for part, residuals in control.items()}


def _of_targets(residual: Tensor | None, rows: Rows) -> Tensor | None:
    if residual is None:
        return None
    each = residual.expand(rows.count, *residual.shape[1:]) if len(residual) == 1 else residual
    return rows.join(torch.zeros_like(rows.references(each)), rows.targets(each))
