"""Colours of a heat map, dark for nothing to light for the most."""

from __future__ import annotations

import torch
from torch import Tensor

STOPS = ("#140b34", "#54136e", "#a52c60", "#e6622d", "#fbb41a", "#fcffa4")
"""Evenly spaced; each is lighter than the one before, so that greys say the same."""


def coloured(values: Tensor) -> Tensor:
    """sRGB colours (..., 3) of values from 0 to 1 (...)."""
    stops = torch.tensor([[int(stop[i : i + 2], 16) / 255 for i in (1, 3, 5)] for stop in STOPS])
    place = values.clamp(0, 1) * (len(STOPS) - 1)
    below = place.floor().long().clamp_max(len(STOPS) - 2)
    return torch.lerp(stops[below], stops[below + 1], (place - below)[..., None])
