"""Prompts that cannot be rows of one tensor: each line of a batch keeps a conditioning of its own.

Transformers attend to text and image jointly, so that padding or repeating a prompt's tokens changes its picture. Where
the lines' token counts differ, each is an entry of its own, which the host gives to the whole batch and weighs with 1
in the line's row and 0 in the others: right in any graph, at a model call a line. Shared attention knows the lines, and
asks for each row's own prediction only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .conditioning_options import Options, common_options, different_tensors

LINE = "style_aligned.line"
"""The option of an entry that says which row of the batch it is for, of type Line."""


@dataclass(frozen=True, eq=False)
class Group:
    """What the lines of one batch have in common: entries of different lines in one group stand for each other."""

    rows: int

    def require(self, images: int) -> None:
        """Raises ValueError where the lines cannot be laid over a batch: as rows of a tensor they repeat, whole."""
        if images > self.rows and images % self.rows:
            raise ValueError(
                f"The batch has {images} images, Style Aligned: Prompts {self.rows} rows. Connect its batch_size to "
                "the empty latent image, so that there is an image for each row."
            )


@dataclass(frozen=True)
class Line:
    """The row of a batch that an entry is for."""

    row: int
    group: Group


@dataclass(frozen=True)
class RowWeight:
    """The strength of an entry in the host: 1 in the line's rows of a batch and 0 in the others.

    Not a mask, which the host takes for frames where latents have five dimensions.
    """

    line: Line
    strength: float = 1.0

    def __rmul__(self, weight: Tensor) -> Tensor:
        """weight: (images, channels, ...), what the host weighs a prediction with.

        Raises ValueError where the lines cannot be laid over the batch.
        """
        self.line.group.require(len(weight))
        own = torch.zeros_like(weight)
        rows = slice(self.line.row, None, self.line.group.rows)
        own[rows] = self.strength * weight[rows]
        return own


def line_entries(entries: Sequence[Sequence[Any]], names: Sequence[str]) -> list[list[Any]]:
    """Entries [embeddings (1, tokens, channels), options] of several prompts as lines of one batch, in order.

    Raises ValueError as `common_options` does: what lines may differ in are their tensors.
    """
    every = [options for _, options in entries]
    own = different_tensors(every)
    common = common_options([_without(options, own) for options in every], names)
    group, strength = Group(len(entries)), common.get("strength", 1.0)
    lines = []
    for row, (embeddings, options) in enumerate(entries):
        line = Line(row, group)
        tensors = {name: value for name, value in options.items() if isinstance(value, Tensor)}
        lines.append([embeddings, {**common, **tensors, "strength": RowWeight(line, strength), LINE: line}])
    return lines


def first_line(options: Options) -> Options:
    """The options of an entry for row 0 of a batch as they were before."""
    kept = _without(options, {LINE, "strength"})
    strength = options.get("strength")
    weight = strength.strength if isinstance(strength, RowWeight) else strength
    return kept if weight in (None, 1.0) else {**kept, "strength": weight}


def _without(options: Mapping[str, Any], names: set[str]) -> Options:
    return {name: value for name, value in options.items() if name not in names}
