"""Keeping the reference's subject out of targets: what they see of it is capped.

In each layer, of each target, a token of the subject may have no more of the softmax's mass than one of the rest of the
reference has, on an average over heads and queries:

    b = min(0, ln (M_rest / N_rest) / (M_subject / N_subject)),    the logits of subject tokens + amount * b

A bias, as a factor of keys raises logits that are negative. Tokens that belong to the subject in part count in part.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .attending import Attention, Extension, Projections
from .keeping import every
from .masks import Grid
from .mass import masses

MOST_ASKED = 16
"""Queries in a row or column by which the mass is found."""


def protected(
    aligned: Projections,
    references: Sequence[Extension],
    amount: float,
    grid: Grid | None,
    scale: float,
    attend: Attention,
    mask: Tensor | None = None,
    heads: int = 1,
) -> list[Extension]:
    """The references with their subjects capped, of those whose subject is known.

    aligned: as in `sharing.share`, with the queries of the image's tokens alone, which are of `grid`; of all of them
    where that is None. amount: how far, 0 not at all, 1 to the cap. heads: side by side in the channels.
    """
    if not any(each.subject is not None for each in references):
        return list(references)
    if grid is not None:
        asked = every(-(-max(grid[1:]) // MOST_ASKED), grid, aligned.query.shape[-2]).flatten()
        aligned = aligned._replace(query=aligned.query.index_select(-2, asked.to(aligned.query.device)))
        if mask is not None and mask.shape[-2] > 1:
            mask = mask.index_select(-2, asked.to(mask.device))
    with torch.no_grad():
        shares = masses(aligned, references, [_parts(each) for each in references], scale, attend, mask, heads)
        means = shares.mean((2, 3)).unbind(-1)  # of the subject and the rest of each reference in turn
        pairs = zip(references, means[::2], means[1::2], strict=True)
        return [_capped(each, subject, rest, amount) for each, subject, rest in pairs]


def _parts(reference: Extension) -> Tensor:
    """The subject and the rest, (tokens, 2)."""
    subject = reference.key.new_zeros(reference.key.shape[-2]) if reference.subject is None else reference.subject
    return torch.stack([subject, 1 - subject], -1)


def _capped(reference: Extension, subject: Tensor, rest: Tensor, amount: float) -> Extension:
    """subject, rest: the mass on them, (chunks, targets)."""
    if reference.subject is None:
        return reference
    counts = 1.0 if reference.counts is None else reference.counts.to(subject)
    belongs = reference.subject.to(subject)
    tokens, others = (belongs * counts).sum(), ((1 - belongs) * counts).sum()
    ratio = (rest * tokens) / (subject * others).clamp_min(1e-12)
    logits = amount * ratio.clamp(1e-6, 1.0).log()[..., None] * belongs
    return reference._replace(counts=counts * logits.exp())
