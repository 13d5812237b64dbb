"""Palette: how far the colours of two pictures are apart, wherever in the pictures they are."""

from __future__ import annotations

from math import pi, sqrt

import torch
from torch import Tensor

from .oklab import oklab

SAMPLES = 8192  # of each picture, so that pictures of any sizes have as many
DIRECTIONS = 32

_PLASTIC = 1.32471795724474602596  # the root of x^3 = x + 1
_GOLDEN = (1 + sqrt(5)) / 2


def palette(picture: Tensor) -> Tensor:
    """What `distances` compares of `picture` (height, width, 3): (DIRECTIONS, SAMPLES).

    Its colours in OKLab, seen along each direction and sorted.
    """
    colours = oklab(sampled(picture))
    return (colours @ directions().to(colours).T).T.contiguous().sort(-1).values


def distances(palettes: Tensor) -> Tensor:
    """Of `palettes` (pictures, DIRECTIONS, SAMPLES) from each other: (pictures, pictures), units of OKLab.

    Twice the sliced 1-Wasserstein distance (Bonneel et al. 2015) of the pixels' distributions. The mean of |cos| over
    the sphere is 1/2, so twice it says how far colours have to move: where all move by d it is d, 0 where they are the
    same, at most about 1 (black and white).
    """
    along = palettes.movedim(1, 0).contiguous()  # each direction on its own: one sum over all would lose digits
    return torch.cdist(along, along, p=1.0).mean(0) * (2 / SAMPLES)


def sampled(picture: Tensor) -> Tensor:
    """SAMPLES pixels of `picture` (height, width, 3): (SAMPLES, 3).

    At the points of the R2 sequence (Roberts 2018), which are spread evenly at every size and in step with no pattern.
    """
    height, width = picture.shape[:2]
    steps = torch.arange(1, SAMPLES + 1, dtype=torch.float64)
    down, across = ((0.5 + steps / _PLASTIC**power) % 1.0 for power in (1, 2))
    return picture[(down * height).long(), (across * width).long()]


def directions() -> Tensor:
    """Unit vectors spread evenly over half the sphere, opposite ones being the same: (DIRECTIONS, 3), float64.

    A Fibonacci lattice, always the same.
    """
    steps = torch.arange(DIRECTIONS, dtype=torch.float64)
    up, turn = 1 - (steps + 0.5) / DIRECTIONS, 2 * pi * steps / _GOLDEN
    flat = (1 - up.square()).sqrt()
    return torch.stack([up, flat * turn.cos(), flat * turn.sin()], -1)
