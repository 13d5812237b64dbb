"""Adaptive instance normalisation over tokens (section 3.2 of the paper, equation 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

EPSILON = 1e-5
HALF_PRECISION = (torch.float16, torch.bfloat16)


class Statistics(NamedTuple):
    """Mean and standard deviation of each channel over tokens: (..., 1, channels) each, at least float32."""

    mean: Tensor
    std: Tensor


def statistics(x: Tensor) -> Statistics:
    """Of `x` (..., tokens, channels); std = sqrt(unbiased variance + 1e-5)."""
    if x.dtype in HALF_PRECISION:
        return _statistics_of_halves(x)
    _, given = _centre(x)
    return given


def weighted_statistics(x: Tensor, weights: Tensor) -> Statistics:
    """Of `x` (..., tokens, channels) whose tokens count as `weights` (tokens,) say; not all of them may be 0.

        mean = sum p x,    var = sum p (x - mean)^2 / (1 - sum p^2),    p = m / sum m

    The variance is the unbiased one of weights that say how reliable a value is: for weights of 1 that of `statistics`.
    """
    x = x.float() if x.dtype in HALF_PRECISION else x
    part = (weights / weights.sum()).to(x.device)[:, None]
    mean = (part * x).sum(-2, keepdim=True)
    squares = (part * (x - mean).square()).sum(-2, keepdim=True)
    freedom = (1.0 - part.square().sum()).clamp_min(EPSILON)  # one token alone has no spread
    return Statistics(mean, (squares / freedom + EPSILON).sqrt())


def mixed(references: Sequence[Statistics | None], weights: Sequence[float]) -> Statistics | None:
    """The weighted mean of the means, and of the deviations, of those that are; None where there are none."""
    given = [(each, weight) for each, weight in zip(references, weights, strict=True) if each is not None]
    if len(given) < 2:
        return given[0][0] if given else None
    total, device = sum(weight for _, weight in given), given[0][0].mean.device
    parts = zip(*([each.to(device) * (weight / total) for each in stats] for stats, weight in given), strict=True)
    return Statistics(*(sum(part[1:], part[0]) for part in parts))


def adain(x: Tensor, reference: Statistics, strength: float = 1.0) -> Tensor:
    """Give each channel of `x` the mean and standard deviation of `reference`.

        AdaIN(x, y) = std(y) * (x - mean(x)) / std(x) + mean(y)

    strength: how far, from x itself (0) to AdaIN (1), in between the mix (1 - strength) * x + strength * AdaIN(x, y).
    x: (..., tokens, channels); the leading dimensions of `reference` broadcast to those of `x`. Returns a tensor of the
    shape and dtype of `x`; statistics are taken in float32 at the least.
    """
    if x.dtype in HALF_PRECISION:
        # In one pass from half to half, in float32 within: memory traffic is what AdaIN costs on a GPU.
        own = _statistics_of_halves(x)
        factor, mean = _towards(own, reference, strength)
        return affine(x, factor, mean - own.mean * factor)
    centred, own = _centre(x)
    factor, mean = _towards(own, reference, strength)
    return affine(centred, factor, mean, out=centred)


def _towards(own: Statistics, reference: Statistics, strength: float) -> tuple[Tensor, Tensor]:
    """The factor of the centred values and their new mean."""
    if strength == 1.0:
        return reference.std / own.std, reference.mean
    factor = 1.0 + strength * (reference.std / own.std - 1.0)
    return factor, torch.lerp(own.mean.expand_as(factor), reference.mean.expand_as(factor), strength)


def affine(x: Tensor, factor: Tensor, offset: Tensor, out: Tensor | None = None) -> Tensor:
    """x * factor + offset in the dtype of `x`; `out` may be `x` itself, where it is not needed any more."""
    if torch.is_grad_enabled():  # samplers that differentiate the model: autograd takes no `out`
        return torch.addcmul(offset, x, factor).to(x.dtype)
    return torch.addcmul(offset, x, factor, out=torch.empty_like(x) if out is None else out)


def _centre(x: Tensor) -> tuple[Tensor, Statistics]:
    """`x` less its mean over tokens, and its statistics."""
    mean = x.mean(-2, keepdim=True)
    centred = x - mean
    # Subtracting the mean first keeps the precision that E[x^2] - E[x]^2 would lose on channels far from zero.
    squares = torch.linalg.vector_norm(centred, dim=-2, keepdim=True).square()
    return centred, Statistics(mean, _std(squares, x.shape[-2]))


def _statistics_of_halves(x: Tensor) -> Statistics:
    """Without a float32 copy of `x`."""
    tokens = x.shape[-2]
    mean = x.mean(-2, keepdim=True, dtype=torch.float32)
    norm = torch.linalg.vector_norm(x, dim=-2, keepdim=True, dtype=torch.float32)
    # What the difference of squares loses in float32 is far below the rounding of x itself.
    return Statistics(mean, _std((norm.square() - tokens * mean.square()).clamp_min(0.0), tokens))


def _std(squares: Tensor, tokens: int) -> Tensor:
    """sqrt(unbiased variance + 1e-5), from the sum of squared differences from the mean."""
    return (squares / max(tokens - 1, 1) + EPSILON).sqrt()
