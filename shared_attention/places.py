"""Where the tokens of a reference stand in its picture."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from .masks import Grid


class Places(NamedTuple):
    """numbers: of tokens of a picture, row by row, (chunks, tokens) alike in all chunks. height, width: in tokens."""

    numbers: Tensor
    height: int
    width: int

    @classmethod
    def of(cls, grid: Grid, chunks: int) -> Places:
        """Those of all tokens, on the CPU."""
        frames, height, width = grid
        return cls(torch.arange(frames * height * width).expand(chunks, -1), height, width)

    def picked(self, chosen: Tensor) -> Places:
        """Those of some of the tokens, (1, tokens)."""
        return self._replace(numbers=self.numbers[:1, chosen.cpu()])

    def regions(self, at_most: int) -> tuple[int, int]:
        """The rows and columns of a grid of regions whose longer side is as short as can be, in tokens at least one."""

        def columns(rows: int) -> int:
            return min(self.width, at_most // rows)

        def longer_side(rows: int) -> float:
            return max(self.height / rows, self.width / columns(rows))

        rows = min(range(1, min(self.height, at_most) + 1), key=longer_side)
        return rows, columns(rows)

    def parts(self, rows: int, columns: int) -> Tensor:
        """One where a token is in a region and else zero: (tokens, rows * columns)."""
        numbers = self.numbers[0]
        y, x = numbers // self.width % self.height, numbers % self.width
        return one_hot(region_of(y, self.height, rows) * columns + region_of(x, self.width, columns), rows * columns)


def region_of(at: Tensor, side: int, regions: int) -> Tensor:
    """Which of the regions along a side of so many tokens the middle of token `at` is in."""
    return (2 * at + 1) * regions // (2 * side)
