"""Softmax attention of targets to their own tokens and to those of references: the tensors that it takes.

All are (chunks, images, ..., tokens, channels): where a model needs its heads apart they come before the tokens, else
they lie side by side in the channels. Of a reference there is one image a chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from .places import Places


class Projections(NamedTuple):
    """The projected queries, keys and values of a self-attention."""

    query: Tensor
    key: Tensor
    value: Tensor


class Extension(NamedTuple):
    """The tokens of a reference as targets attend to them besides their own: (chunks, 1, ..., tokens, channels).

    bias: what is added to their logits. counts: of each token, above 0, by which it counts besides, (tokens,) or for
    each target (chunks, targets, tokens). places: where they stand, where that is known. subject: how much each belongs
    to the reference's subject, (tokens,), where that is known. reference: its number among the layer's references.
    """

    key: Tensor
    value: Tensor
    bias: float = 0.0
    counts: Tensor | None = None
    places: Places | None = None
    subject: Tensor | None = None
    reference: int = 0

    @property
    def is_plain(self) -> bool:
        """Whether its tokens are like the targets' own."""
        return self.bias == 0.0 and self.counts is None


class Attention(Protocol):
    """Softmax attention: (rows, ..., tokens, channels) each, `bias` broadcasting over the logits and added to them."""

    @property
    def takes_bias(self) -> bool:
        """Whether a bias acts in this kernel, at no great cost."""
        ...

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor: ...


def attended(attend: Attention, x: Projections, bias: Tensor | None = None) -> Tensor:
    out = attend(x.query.flatten(0, 1), x.key.flatten(0, 1), x.value.flatten(0, 1), bias)
    return out.reshape(x.query.shape)


def scaled(key: Tensor, scale: float) -> Tensor:
    return key if scale == 1.0 else scale * key


def extended(own: Tensor, references: Sequence[Tensor]) -> Tensor:
    """[own ; references'] tokens for every target."""
    return torch.cat([own, *(each.expand(-1, own.shape[1], *each.shape[2:]) for each in references)], dim=-2)


def for_targets(reference: Tensor, aligned: Projections) -> Tensor:
    return reference.expand(-1, aligned.query.shape[1], *reference.shape[2:])


def extended_mask(mask: Tensor | None, own_key: Tensor, references: Sequence[Extension]) -> Tensor | None:
    """The model's own mask with the references' columns behind it: (1 or more, 1 or more, 1 or more, all tokens).

    A softmax sees only differences, and some kernels subtract the row's maximum before they add the mask: a positive
    bias could overflow there, so the highest lowers all other tokens instead of raising its own.
    """
    if mask is None and all(each.is_plain for each in references):
        return None
    highest = max([0.0, *(each.bias for each in references)])
    own = own_key.new_zeros(1, 1, 1, own_key.shape[-2]) if mask is None else mask
    columns = [own - highest, *(_column(each, own) - highest for each in references)]
    shape = [max(column.shape[axis] for column in columns) for axis in range(3)]
    return torch.cat([column.expand(*shape, -1) for column in columns], dim=-1)


def _column(each: Extension, like: Tensor) -> Tensor:
    """What is added to the logits of a reference's tokens: (rows or 1, 1, 1, tokens)."""
    if each.counts is None:
        return like.new_full((1, 1, 1, each.key.shape[-2]), each.bias)
    return (each.bias + each.counts.log()).to(like).reshape(-1, 1, 1, each.key.shape[-2])


def counts_of(each: Extension) -> Tensor:
    """By which values are multiplied, in their dtype: (..., tokens or 1, 1)."""
    if each.counts is None:
        return each.value.new_ones(1, 1)
    counts = each.counts.to(each.value)
    if counts.ndim > 1 and each.value.ndim == 5:  # heads apart
        counts = counts.unsqueeze(2)
    return counts[..., None]
