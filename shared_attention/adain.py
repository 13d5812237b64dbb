"""Adaptive instance normalisation over tokens (section 3.2 of the paper, equation 3)."""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-5


def adain(x: Tensor, reference: Tensor) -> Tensor:
    """Give each channel of `x` the mean and standard deviation that it has in `reference`.

        AdaIN(x, y) = std(y) * (x - mean(x)) / std(x) + mean(y),    std = sqrt(unbiased variance + 1e-5)

    x: (..., tokens, channels). reference: (..., tokens', channels), its leading dimensions broadcast to those of `x`.
    Returns a tensor of the shape and dtype of `x`; statistics are taken in float32 at the least.
    """
    centred, _, std = _standardise(x)
    _, reference_mean, reference_std = _standardise(reference)
    return torch.addcmul(reference_mean, centred, reference_std / std).to(x.dtype)


def _standardise(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`x` less its mean over tokens, and that mean and the standard deviation, (..., 1, channels)."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    mean = x.mean(-2, keepdim=True)
    centred = x - mean
    # Subtracting the mean first keeps the precision that E[x^2] - E[x]^2 would lose on keys far from zero.
    norm = torch.linalg.vector_norm(centred, dim=-2, keepdim=True)
    variance = norm.square() / max(x.shape[-2] - 1, 1)
    return centred, mean, (variance + EPSILON).sqrt()
