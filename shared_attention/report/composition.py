"""Copying: whether light, dark and coloured parts lie at the same places in two pictures."""

from __future__ import annotations

import torch
from torch import Tensor

GRID = 16  # cells along each side, whatever the picture's shape
_FLAT = 1e-4  # a deviation in OKLab that is rounding: the picture has no composition


def composition(coarse: Tensor) -> Tensor:
    """What `correlations` compares of a picture brought to `coarse` (GRID, GRID, 3), OKLab: (GRID * GRID * 3,).

    Without the mean of each channel, and at length 1; zeros for a picture of one colour.
    """
    centred = coarse - coarse.mean((0, 1))
    length = centred.square().sum().sqrt()
    flat = length < _FLAT * centred.numel() ** 0.5
    return torch.zeros_like(centred).flatten() if flat else centred.flatten() / length


def correlations(compositions: Tensor) -> Tensor:
    """Of `compositions` (pictures, values) with each other: (pictures, pictures), -1 to 1.

    Pearson's correlation over places, lightness and chroma together: 1 the same layout, 0 unlike, -1 its negative.
    A picture of one colour has 0 with all others.
    """
    return (compositions @ compositions.T).clamp(-1, 1)
