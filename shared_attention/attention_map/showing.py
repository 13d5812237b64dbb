"""What is shown of where a run's targets looked: a column for each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from .averaging import Averages, TargetMap, looked_up
from .looking import FINEST
from .recording import RunLooks


class Column(NamedTuple):
    """Of one target. picture: (height, width, 3). mass: on each reference, (references, rows, columns) of the target.

    fields: where it looked, or the part of it that was asked about: the mass on each field of the references, (
    references, FINEST, FINEST). asked: how much each of its pixels counts for that, (height, width); None for all.
    """

    name: str
    picture: Tensor
    mass: Tensor
    fields: Tensor
    asked: Tensor | None = None


class Shown(NamedTuple):
    """references: their pictures, of any size; None for one that is not at hand. question: who looked, in words."""

    columns: Sequence[Column]
    references: Sequence[Tensor | None]
    question: str

    def maps(self) -> Tensor:
        """The mass on all references at the size of the pictures: (targets, height, width)."""
        size = tuple(self.columns[0].picture.shape[:2])
        each = [column.mass.sum(0)[None, None] for column in self.columns]
        return torch.cat([interpolate(mass, size, mode="bilinear")[:, 0] for mass in each]).clamp(0, 1)


def showing(
    run: RunLooks,
    averages: Averages,
    pictures: Tensor,
    references: Tensor | None,
    asked: Tensor | None,
    question: str,
) -> Shown:
    """pictures: of the run, (images, height, width, 3). references: of those that are no images of it, in order.

    asked: (1 or targets, height, width). Raises ValueError where it is of another number of targets.
    """
    numbers = list(averages.of_targets)
    if asked is not None and len(asked) not in (1, len(numbers)):
        raise ValueError(
            f"There are {len(asked)} masks and {len(numbers)} images that take on the style. Give one mask for all of "
            "them, or one for each."
        )
    columns = []
    for place, (number, target) in enumerate(averages.of_targets.items()):
        own = None if asked is None else asked[place % len(asked)]
        columns.append(Column(f"image {number + 1}", pictures[number], target.mass, _fields(target, own), own))
    others = [] if references is None else list(references)
    known = [*([pictures[0]] if run.has_reference else []), *others]
    count = len(columns[0].fields)
    return Shown(columns, [known[place] if place < len(known) else None for place in range(count)], question)


def _fields(target: TargetMap, asked: Tensor | None) -> Tensor:
    return looked_up(target, torch.ones(FINEST, FINEST) if asked is None else asked)
