"""Dense float64 oracles, written straight from the paper's equations and the authors' description.

They share no code with the pack: loops over chunks and images, all logits held, feature maps appended in full.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Chunks of images in a call, and which image of each chunk is the reference."""

    chunks: int
    images: int
    reference: int = 0

    def pairs(self) -> list[tuple[int, int]]:
        """(row, row of its reference) for every row."""
        return [
            (chunk * self.images + image, chunk * self.images + self.reference)
            for chunk in range(self.chunks)
            for image in range(self.images)
        ]


def adain(x: Tensor, y: Tensor) -> Tensor:
    """std(y) (x - mean(x)) / std(x) + mean(y), statistics over tokens. x, y: (tokens, channels)."""
    std_x = (x.var(0, unbiased=True) + 1e-5).sqrt()
    std_y = (y.var(0, unbiased=True) + 1e-5).sqrt()
    return std_y * (x - x.mean(0)) / std_x + y.mean(0)


def attention(query: Tensor, key: Tensor, value: Tensor, heads: int, bias: Tensor | None = None) -> Tensor:
    """Softmax attention of one image. query, key, value: (tokens, channels); bias: (key tokens,)."""
    out = []
    for q, k, v in zip(query.chunk(heads, 1), key.chunk(heads, 1), value.chunk(heads, 1), strict=True):
        logits = q @ k.T / math.sqrt(q.shape[1])
        if bias is not None:
            logits = logits + bias
        out.append(logits.softmax(-1) @ v)
    return torch.cat(out, dim=1)


def shared_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    heads: int,
    layout: Layout,
    *,
    scale: float = 1.0,
    shift: float = 0.0,
    adain_queries: bool = True,
    adain_keys: bool = True,
    adain_values: bool = False,
    strength: float = 1.0,
) -> Tensor:
    """Shared attention of a call's rows. query, key, value: (rows, tokens, channels)."""
    query, key, value = query.double(), key.double(), value.double()

    def aligned(x: Tensor, y: Tensor) -> Tensor:
        return (1 - strength) * x + strength * adain(x, y)

    out = []
    for row, ref in layout.pairs():
        if row == ref:
            out.append(attention(query[row], key[row], value[row], heads))
            continue
        q = aligned(query[row], query[ref]) if adain_queries else query[row]
        k = aligned(key[row], key[ref]) if adain_keys else key[row]
        v = aligned(value[row], value[ref]) if adain_values else value[row]
        bias = torch.cat([torch.zeros(len(k)), torch.full((len(key[ref]),), shift + math.log(strength))]).double()
        out.append(attention(q, torch.cat([k, scale * key[ref]]), torch.cat([v, value[ref]]), heads, bias))
    return torch.stack(out)


def shared_group_norm(
    x: Tensor,
    groups: int,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    layout: Layout,
    strength: float = 1.0,
) -> Tensor:
    """Group norm of each row's feature map with its reference's appended along height; the row's own part is kept.

    Values of the reference count `strength` times.
    """
    out = []
    for row, ref in layout.pairs():
        both = torch.cat([x[row], x[ref]], dim=1).double()
        grouped = both.view(groups, -1)
        counts = torch.cat([torch.ones_like(x[row]), torch.full_like(x[ref], strength if row != ref else 1.0)], dim=1)
        weights = counts.double().view(groups, -1) / counts.double().view(groups, -1).sum(1, keepdim=True)
        mean = (weights * grouped).sum(1, keepdim=True)
        variance = (weights * (grouped - mean) ** 2).sum(1, keepdim=True)
        normed = ((grouped - mean) / (variance + eps).sqrt()).view_as(both)[:, : x.shape[2]]
        if weight is not None:
            normed = normed * weight.double()[:, None, None]
        if bias is not None:
            normed = normed + bias.double()[:, None, None]
        out.append(normed)
    return torch.stack(out)


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """||actual - expected|| / ||expected||, computed in float64."""
    expected = expected.double()
    return float((actual.double() - expected).norm() / expected.norm())
