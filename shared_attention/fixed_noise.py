"""The noise of a given picture: always the same for it, whatever else is sampled with it.

Drawn from the picture itself and not from a run's seed, it is known to every stage of sampling, and no picture beside
the reference changes when the batch grows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def fixed_noise(picture: Tensor, size: Sequence[int] | None = None) -> Tensor:
    """Standard normal noise for `picture` (1, channels, ..., height, width), float32 on the CPU, in its shape.

    size: (height, width) of the noise, where it is not the picture's.
    """
    shape = (*picture.shape[:-2], *(picture.shape[-2:] if size is None else size))
    return torch.randn(shape, generator=torch.Generator().manual_seed(_digest(picture)))


def _digest(picture: Tensor) -> int:
    """64 bits that tell pictures apart; a copy in another layout or on another device has the same."""
    values = picture.detach().float().cpu().contiguous().view(torch.uint8)
    return int.from_bytes(hashlib.sha256(values.numpy().tobytes()).digest()[:8], "little")
