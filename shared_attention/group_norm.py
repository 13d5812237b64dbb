"""Group norm with the statistics of a target and its reference together (the authors' share_group_norm).

The original appends the reference's feature map to every target's, normalises both and keeps the target's part. The
mean and variance of such a union follow from those of its parts, so nothing need be appended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .adain import HALF_PRECISION, affine


class Moments(NamedTuple):
    """Mean and (biased) variance of each group of channels: (..., groups) each, at least float32."""

    mean: Tensor
    variance: Tensor


def moments(x: Tensor, groups: int) -> Moments:
    """The moments of feature maps `x` (rows, channels, height, width): (rows, groups)."""
    if x.dtype in HALF_PRECISION:
        # Accumulated in float32 without a float32 copy of x; the squares' cancellation is far below x's own rounding.
        grouped = x.reshape(x.shape[0], groups, -1)
        mean = grouped.mean(-1, dtype=torch.float32)
        norm = torch.linalg.vector_norm(grouped, dim=-1, dtype=torch.float32)
        return Moments(mean, (norm.square() / grouped.shape[-1] - mean.square()).clamp_min(0.0))
    # PyTorch's group norm kernel gets both in one stable pass, many times faster on a CPU than var_mean.
    eps = 1e-6
    rows, channels = x.shape[:2]
    _, mean, inverse_std = torch.native_group_norm(
        x.contiguous(), None, None, rows, channels, x[0, 0].numel(), groups, eps
    )
    return Moments(mean, (inverse_std.pow(-2) - eps).clamp_min(0.0))


def weighted_moments(x: Tensor, groups: int, weights: Tensor) -> Moments:
    """The moments of `x`, each of whose places counts as `weights` (height * width,) say: (rows, groups)."""
    grouped = x.reshape(x.shape[0], groups, -1, weights.numel())
    grouped = grouped.float() if x.dtype in HALF_PRECISION else grouped
    counts = (weights / (weights.sum() * grouped.shape[2])).to(x.device)
    mean = (counts * grouped).sum((-1, -2))
    variance = (counts * (grouped - mean[..., None, None]).square()).sum((-1, -2))
    return Moments(mean, variance)


def pool(own: Moments, references: Sequence[tuple[Moments, float]]) -> Moments:
    """The moments of several sets taken together, as if all were of one size; a reference's values have its weight."""
    total = 1.0 + sum(weight for _, weight in references)
    parts = [(own, 1.0 / total), *((each, weight / total) for each, weight in references)]
    # About the own mean, so that a mean far from zero costs no precision.
    mean = own.mean + sum(weight * (each.mean - own.mean) for each, weight in parts[1:])
    variance = sum(weight * (each.variance + (each.mean - mean).square()) for each, weight in parts)
    return Moments(mean, torch.as_tensor(variance))


def normalise(x: Tensor, given: Moments, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """Group norm of `x` (rows, channels, height, width) with given moments instead of its own.

    weight, bias: (channels,), the norm's affine parameters. Returns the shape and dtype of `x`.
    """
    per_group = x.shape[1] // given.mean.shape[1]
    mean = given.mean.repeat_interleave(per_group, dim=1)
    factor = (given.variance + eps).rsqrt().repeat_interleave(per_group, dim=1)
    if weight is not None:
        factor = factor * weight.to(factor.dtype)
    offset = -mean * factor
    if bias is not None:
        offset = offset + bias.to(offset.dtype)
    return affine(x, factor[..., None, None], offset[..., None, None])
