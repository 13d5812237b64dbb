"""Where targets look: the share of the softmax's mass that parts of references have, for each head and query.

What `attend` gives for values of one at some tokens and zero at all others is the mass m of these tokens without any
bias. So, as in `beside`, no logits are held, and whatever kernel attends is in use:

    share_p = m_p e^b_p / sum_p m_p e^b_p,    own tokens a part too, of bias 0

As many parts fit in one attention as a head has channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from .attending import Attention, Extension, Projections, attended, counts_of, extended, extended_mask, scaled


def masses(
    aligned: Projections,
    references: Sequence[Extension],
    parts: Sequence[Tensor],
    scale: float,
    attend: Attention,
    mask: Tensor | None = None,
    heads: int = 1,
) -> Tensor:
    """The shares of all parts of all references: (chunks, targets, heads, queries, parts), at least float32.

    Own tokens have what these leave. aligned: of targets; the queries may be some of theirs. parts: of each reference,
    (tokens, parts): how much of a token belongs to each of its parts. heads: how many lie side by side in the channels.
    scale, attend and mask are those of `sharing.share`. Raises ValueError where there are as many parts as a head has
    channels, or more.
    """
    channels = aligned.value.shape[-1] // heads
    if sum(part.shape[-1] for part in parts) >= channels:
        raise ValueError(f"a head of {channels} channels has room for {channels - 1} parts of references")
    plain = [each._replace(bias=0.0, counts=None) for each in references]
    both = Projections(
        aligned.query,
        extended(aligned.key, [scaled(each.key, scale) for each in references]),
        extended(_own(aligned.value, channels), _of_parts(references, parts, channels)),
    )
    out = _by_head(attended(attend, both, extended_mask(mask, aligned.key, plain)), heads)
    own = out[..., :1]
    raised = out[..., 1 : 1 + sum(part.shape[-1] for part in parts)] * _factors(references, parts, out)
    return raised / (own + raised.sum(-1, keepdim=True))


def _own(value: Tensor, channels: int) -> Tensor:
    """One in the first channel of each head."""
    return torch.eye(1, channels).to(value).repeat(1, value.shape[-1] // channels).expand_as(value)


def _of_parts(references: Sequence[Extension], parts: Sequence[Tensor], channels: int) -> list[Tensor]:
    """For each reference how much of a token belongs to the part that a channel stands for, times what it counts."""
    values, before = [], 1
    for each, part in zip(references, parts, strict=True):
        placed = pad(part, (before, channels - before - part.shape[-1])).to(each.value)
        by_head = placed.repeat(1, each.value.shape[-1] // channels).expand_as(each.value)
        values.append(by_head * counts_of(each))
        before += part.shape[-1]
    return values


def _by_head(out: Tensor, heads: int) -> Tensor:
    """(chunks, targets, heads, queries, channels of a head), of what lies side by side or is apart already."""
    out = out.to(torch.promote_types(out.dtype, torch.float32))
    return out.view(*out.shape[:-1], heads, -1).movedim(-2, 2) if out.ndim == 4 else out


def _factors(references: Sequence[Extension], parts: Sequence[Tensor], like: Tensor) -> Tensor:
    """e^bias for each part."""
    biases = [each.bias for each, part in zip(references, parts, strict=True) for _ in range(part.shape[-1])]
    return torch.tensor(biases, dtype=like.dtype).exp().to(like.device)
