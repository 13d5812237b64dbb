"""Where targets look: the share of the softmax's mass that parts of references have, for each head and query.

What `attend` gives for values of one at some tokens and zero at all others is the mass m of these tokens without any
bias. So, as in `beside`, no logits are held, and whatever kernel attends is in use:

    share_p = m_p e^b_p / sum_p m_p e^b_p,    own tokens a part too, of bias 0

As many parts fit in one attention as a head has channels, less one; more references take further ones.
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
    scale, attend and mask are those of `sharing.share`. Raises ValueError where one reference has as many parts as a
    head has channels, or more.
    """
    channels = aligned.value.shape[-1] // heads
    plain = [each._replace(bias=0.0, counts=None) for each in references]
    key = extended(aligned.key, [scaled(each.key, scale) for each in references])
    full_mask, found = extended_mask(mask, aligned.key, plain), []
    for chosen in _rounds([part.shape[-1] for part in parts], channels - 1):
        of_round = [part if number in chosen else part[:, :0] for number, part in enumerate(parts)]
        value = extended(_own(aligned.value, channels), _of_parts(references, of_round, channels))
        out = _by_head(attended(attend, Projections(aligned.query, key, value), full_mask), heads)
        own = out[..., :1]
        found.append(out[..., 1 : 1 + sum(part.shape[-1] for part in of_round)])
    raised = torch.cat(found, -1)
    raised = raised * _factors(references, parts, raised)
    return raised / (own + raised.sum(-1, keepdim=True))


def _rounds(counts: Sequence[int], room: int) -> list[range]:
    """Which references' parts are found by one attention after the other; counts: of parts. Raises ValueError."""
    starts, filled = [0], 0
    for number, count in enumerate(counts):
        if count > room:
            raise ValueError(f"a head of {room + 1} channels has room for {room} parts of a reference")
        if filled + count > room:
            starts.append(number)
            filled = 0
        filled += count
    return [range(start, end) for start, end in zip(starts, [*starts[1:], len(counts)], strict=True)]


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
