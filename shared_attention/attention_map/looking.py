"""How one layer's targets divide their attention between themselves and places of their references.

Not every token is asked: at most MOST_ASKED of a row or column, evenly spread. What they answer is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from ..attending import Attention, Extension, Projections
from ..keeping import every
from ..masks import Grid
from ..mass import masses

MOST_ASKED = 32
FINEST = 16
"""Of the rows and columns for which places of the reference are told apart: those of `mass`, by twos."""


class Seen(NamedTuple):
    """Of one reference, by the targets of a call: shares of the softmax's mass, means over heads and chunks.

    reference: its number. mass: on all of it, (targets, rows, columns) of the target. places: on each of its regions,
    (targets, rows, columns, rows of regions, columns of regions), in float16. tokens: rows and columns of the
    reference's, which regions are made of.
    """

    reference: int
    mass: Tensor
    places: Tensor
    tokens: tuple[int, int]


def look(
    aligned: Projections,
    references: Sequence[Extension],
    grid: Grid,
    scale: float,
    attend: Attention,
    mask: Tensor | None = None,
    heads: int = 1,
    target_mask: Tensor | None = None,
) -> list[Seen]:
    """What targets see of each reference.

    aligned: as in `sharing.share`, with the queries of the image's tokens alone, which are of `grid`. heads: how many
    lie side by side in the channels. target_mask: how much of what a token takes is taken, (targets or 1, tokens).
    """
    numbers = every(-(-max(grid[1:]) // MOST_ASKED), grid, aligned.query.shape[-2])
    asked = numbers.flatten()
    aligned = aligned._replace(query=aligned.query.index_select(-2, asked.to(aligned.query.device)))
    if mask is not None and mask.shape[-2] > 1:
        mask = mask.index_select(-2, asked.to(mask.device))
    regions = _regions(references, aligned.value.shape[-1] // heads - 1)
    parts = [_parts(*pair) for pair in zip(references, regions, strict=True)]
    with torch.no_grad():
        shares = masses(aligned, references, parts, scale, attend, mask, heads).mean((0, 2))
        if target_mask is not None:
            shares = shares * target_mask[:, asked].to(shares)[..., None]
        by_place = shares.reshape(len(shares), *numbers.shape, -1).mean(1)
        of_each = torch.split(by_place, [rows * columns for rows, columns in regions], -1)
        every_one = zip(references, of_each, regions, strict=True)
        return [_seen(*of_one) for of_one in every_one]


def _regions(references: Sequence[Extension], room: int) -> list[tuple[int, int]]:
    """Of each reference; one where nobody knows where its tokens stand. room: for all of them together."""
    each = room // len(references)
    return [(1, 1) if reference.places is None else reference.places.regions(each) for reference in references]


def _parts(reference: Extension, regions: tuple[int, int]) -> Tensor:
    if reference.places is None:
        return torch.ones(reference.key.shape[-2], 1)
    return reference.places.parts(*regions)


def _seen(reference: Extension, shares: Tensor, regions: tuple[int, int]) -> Seen:
    """shares: (targets, rows, columns, regions)."""
    rows, columns = (min(FINEST, side) for side in shares.shape[1:3])
    coarse = adaptive_avg_pool2d(shares.movedim(-1, 1), (rows, columns)).movedim(1, -1)
    places, tokens = coarse.reshape(*coarse.shape[:-1], *regions).half(), reference.places
    return Seen(reference.reference, shares.sum(-1), places, (tokens.height, tokens.width) if tokens else regions)
