"""Rotary positions (RoPE), in the one form that every model's own can be brought to: a 2 x 2 matrix for each pair.

A pair of channels is turned by an angle that is its frequency times the token's position. Turning by one position and
then by another adds them up, so a key that a model has rotated already can be moved, and can be taken back to what it
was before. Multiplying both channels of a pair by one number commutes with turning them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

SPATIAL_AXES = "yx"


@dataclass(frozen=True)
class Rotary:
    """The rotation of every token.

    matrices: (rows or 1, heads or 1, tokens or 1, pairs, 2, 2), as the model has them, rounded or not.
    halves: channel i is paired with channel i + pairs; else 2 i with 2 i + 1. Channels past 2 * pairs are not rotated.
    """

    matrices: Tensor
    halves: bool = False

    @property
    def tokens(self) -> int:
        return self.matrices.shape[2]

    def of_tokens(self, tokens: slice) -> Rotary:
        return replace(self, matrices=self.matrices[:, :, tokens])

    def of_rows(self, pick: Callable[[Tensor], Tensor], rows: int) -> Rotary:
        """Of the rows that `pick` takes out of `rows`; positions that all rows have in common stay as they are."""
        return replace(self, matrices=pick(self.matrices)) if self.matrices.shape[0] == rows else self

    def inverse(self) -> Rotary:
        """What takes rotated channels back.

        Matrices that a model keeps in half precision are no pure rotations any more, and scaled ones never were: so
        this is the inverse of any 2 x 2 matrix, in float32 at the least, and not the transpose.
        """
        (a, b), (c, d) = (row.unbind(-1) for row in _at_least_single(self.matrices).unbind(-2))
        adjugate = torch.stack([d, -b, -c, a], -1)
        determinant = torch.addcmul(a * d, b, c, value=-1)
        return replace(self, matrices=(adjugate / determinant.unsqueeze(-1)).view(self.matrices.shape))

    def scaled(self, scales: Tensor) -> Rotary:
        """The same rotation, with each pair multiplied by its number. scales: (pairs,)."""
        scales = scales.to(self.matrices.device)[:, None, None]
        return replace(self, matrices=_at_least_single(self.matrices) * scales)

    def then(self, other: Rotary) -> Rotary:
        """This rotation and then `other`, as one: a pass less over keys than one after the other."""
        if self.halves != other.halves or self.matrices.shape[-3] != other.matrices.shape[-3]:
            raise ValueError("the two rotations pair channels in different ways, so they are no rotation together")
        return replace(self, matrices=_at_least_single(other.matrices) @ _at_least_single(self.matrices))

    def __call__(self, x: Tensor) -> Tensor:
        """Rotate `x` (rows, heads, tokens, channels); computed and returned in float32 at the least.

        Two passes over the rotated channels and no memory but the result's: `x` is read in its own dtype.
        """
        pairs = self.matrices.shape[-3]
        first, second = self._columns()
        if self.halves:
            channels = x[..., : 2 * pairs].reshape(*x.shape[:-1], 2, pairs)
            even, odd = channels[..., :1, :], channels[..., 1:, :]
        else:
            channels = x[..., : 2 * pairs].reshape(*x.shape[:-1], pairs, 2)
            even, odd = channels[..., :1], channels[..., 1:]
        rotated = (first * even).addcmul_(second, odd).flatten(-2)
        rest = x[..., 2 * pairs :]
        return torch.cat([rotated, rest], -1) if rest.shape[-1] else rotated

    def _columns(self) -> tuple[Tensor, Tensor]:
        """The columns of the matrices, each laid out as the channels that it makes."""
        matrices = _at_least_single(self.matrices)
        if self.halves:
            # One copy for all heads, so that what it is multiplied with keeps its order in memory.
            matrices = matrices.movedim(-2, -3).contiguous()
        first, second = matrices.unbind(-1)
        return first, second


def rotations(angles: Tensor) -> Tensor:
    """[[cos, -sin], [sin, cos]] of each angle: (..., 2, 2)."""
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([cos, -sin, sin, cos], -1).view(*angles.shape, 2, 2)


def frequency_scales(axes: Sequence[str], high: float, low: float) -> Tensor:
    """What the reference's keys are multiplied by, pair by pair (Untwisting RoPE, with its beta of 2): (pairs,).

        s_n = high + (low - high) (n / (P - 1))^2,    n = 0 .. P - 1 in an axis of P pairs, 0 its highest frequency

    High frequencies tell a token from its neighbours, low ones only where in the image it is. axes: the axis of each
    pair, "y" and "x" for the image's; pairs of any other axis stay as they are. Within an axis, pairs come from the
    highest frequency to the lowest.
    """
    scales = torch.ones(len(axes))
    for axis in SPATIAL_AXES:
        members = torch.tensor([name == axis for name in axes])
        rank = torch.arange(int(members.sum()))
        scales[members] = high + (low - high) * (rank / max(len(rank) - 1, 1)) ** 2
    return scales


def _at_least_single(matrices: Tensor) -> Tensor:
    return matrices.to(torch.promote_types(matrices.dtype, torch.float32))
