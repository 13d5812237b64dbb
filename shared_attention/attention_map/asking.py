"""The part of targets that is asked about: where did it look?"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from .looking import FINEST

EVERYWHERE, POINT, MASK = "whole image", "point", "mask"


def asked_about(what: str, point: tuple[float, float], mask: Tensor | None, size: tuple[int, int]) -> Tensor | None:
    """How much each pixel of the targets counts, (1 or targets, height, width) of that size; None where all do.

    point: x and y, 0 to 1. mask: the host's MASK. Raises ValueError where a mask is asked about and there is none.
    """
    if what == POINT:
        return _around(point, size)[None]
    if what != MASK:
        return None
    if mask is None:
        raise ValueError("look_up is mask, and no mask is connected. Connect one, or choose another look_up.")
    masks = mask.detach().float().cpu().reshape(-1, 1, *mask.shape[-2:])
    return interpolate(masks, size, mode="bilinear", antialias=True)[:, 0].clamp(0, 1)


def in_words(what: str, point: tuple[float, float]) -> str:
    """What looked, as in "where they looked"."""
    if what == POINT:
        return f"the point at x {point[0]:.2f}, y {point[1]:.2f} looked"
    return "the part under the mask looked" if what == MASK else "they looked"


def _around(point: tuple[float, float], size: tuple[int, int]) -> Tensor:
    """One in the field around the point."""
    at = torch.zeros(size)
    spans = []
    for place, side in zip((point[1], point[0]), size, strict=True):
        start = min(round(max(0.0, place - 0.5 / FINEST) * side), side - 1)
        spans.append(slice(start, max(start + 1, round((place + 0.5 / FINEST) * side))))
    at[spans[0], spans[1]] = 1.0
    return at
