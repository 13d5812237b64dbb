"""Adaptive instance normalisation over tokens (section 3.2 of the paper, equation 3)."""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-5
HALF_PRECISION = (torch.float16, torch.bfloat16)


def adain(x: Tensor, reference: Tensor) -> Tensor:
    """Give each channel of `x` the mean and standard deviation that it has in `reference`.

        AdaIN(x, y) = std(y) * (x - mean(x)) / std(x) + mean(y),    std = sqrt(unbiased variance + 1e-5)

    x: (..., tokens, channels). reference: (..., tokens', channels), its leading dimensions broadcast to those of `x`.
    Returns a tensor of the shape and dtype of `x`; statistics are taken in float32 at the least.
    """
    if x.dtype in HALF_PRECISION:
        return _adain_of_halves(x, reference)
    centred, _, std = _centre(x)
    _, reference_mean, reference_std = _centre(reference)
    return torch.addcmul(reference_mean, centred, reference_std / std, out=centred)


def _centre(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`x` less its mean over tokens, and that mean and the standard deviation, (..., 1, channels)."""
    mean = x.mean(-2, keepdim=True)
    centred = x - mean
    # Subtracting the mean first keeps the precision that E[x^2] - E[x]^2 would lose on channels far from zero.
    squares = torch.linalg.vector_norm(centred, dim=-2, keepdim=True).square()
    return centred, mean, _std(squares, x.shape[-2])


def _adain_of_halves(x: Tensor, reference: Tensor) -> Tensor:
    """From half to half precision in one pass, in float32 within: memory traffic is what AdaIN costs on a GPU."""
    mean, std = _statistics_of_halves(x)
    reference_mean, reference_std = _statistics_of_halves(reference)
    factor = reference_std / std
    return torch.addcmul(reference_mean - mean * factor, x, factor, out=torch.empty_like(x))


def _statistics_of_halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over tokens in float32, (..., 1, channels)."""
    tokens = x.shape[-2]
    mean = x.mean(-2, keepdim=True, dtype=torch.float32)
    norm = torch.linalg.vector_norm(x, dim=-2, keepdim=True, dtype=torch.float32)
    # What the difference of squares loses in float32 is far below the rounding of x itself.
    return mean, _std((norm.square() - tokens * mean.square()).clamp_min(0.0), tokens)


def _std(squares: Tensor, tokens: int) -> Tensor:
    """sqrt(unbiased variance + 1e-5), from the sum of squared differences from the mean."""
    return (squares / max(tokens - 1, 1) + EPSILON).sqrt()
