"""How the features of a reference are kept until targets have read them: which of its tokens, how exactly, and where.

Keys and values are what a bank's memory goes to; statistics are small, of all tokens, and stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

THINNINGS = {"all": 1, "1/4": 2, "1/9": 3}
"""The tokens that are kept, as users choose them: every one, every second or every third of each row and column."""


@dataclass(frozen=True)
class Keeping:
    """stride: how far apart the tokens are that are kept, in both directions. half_precision: whether they are kept in
    float16 where the model computes in float32. on_cpu: whether in the computer's memory, not in the GPU's.
    """

    stride: int = 1
    half_precision: bool = False
    on_cpu: bool = False

    def kept(self, x: Tensor, grid: Sequence[int] | None) -> Tensor:
        """Keys or values `x` (..., tokens, channels) as they are kept; never a view of something larger.

        grid: (frames,) height and width of the image in tokens; None where that is not known, and all are kept.
        """
        dtype = torch.float16 if self.half_precision and x.dtype == torch.float32 else x.dtype
        stored = self.thinned(x, grid).to("cpu" if self.on_cpu else x.device, dtype)
        is_view = stored.untyped_storage().nbytes() > stored.numel() * stored.element_size()
        return stored.clone(memory_format=torch.contiguous_format) if is_view else stored

    def thinned(self, x: Tensor, grid: Sequence[int] | None, axis: int = -2) -> Tensor:
        """`x` with the tokens along `axis` that are kept."""
        if not grid or self.stride == 1:
            return x
        return x.index_select(axis, every(self.stride, grid, x.shape[axis]).flatten().to(x.device))


def every(stride: int, grid: Sequence[int], tokens: int) -> Tensor:
    """The numbers of every `stride`th of an image's tokens in each row and column, from the middle of a field on.

    grid: (frames,) height and width of the image in tokens. Returns (frames, rows, columns).
    """
    numbers = torch.arange(tokens).view(-1, *grid[-2:])
    first = [min(stride // 2, side - 1) for side in grid[-2:]]
    return numbers[:, first[0] :: stride, first[1] :: stride]


def grid_of(tokens: int, height: int, width: int) -> tuple[int, int] | None:
    """Height and width in tokens of a feature map of a latent of that size, halved (and rounded up) some times.

    None where no halving has so many tokens.
    """
    while height * width > tokens:
        height, width = -(-height // 2), -(-width // 2)
    return (height, width) if height * width == tokens else None
