"""Where a transformer's tokens are and how its queries and keys turn with them, in float64 and of the tests' own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rope:
    """Rotary positions: pair p of channels turns by frequencies[p] times the token's position along axes[p].

    axes: which axis each pair follows. spatial: the image's axes, the last of them x. halves: channel p is paired with
    p + pairs, else 2 p with 2 p + 1.
    """

    axes: tuple[int, ...]
    frequencies: tuple[float, ...]
    spatial: tuple[int, ...] = (1, 2)
    halves: bool = False

    @classmethod
    def of_axes(
        cls,
        widths: Sequence[int],
        theta: float | Sequence[float] = 10000.0,
        spatial: tuple[int, ...] = (1, 2),
        halves: bool = False,
    ) -> Rope:
        """An axis after the other, each with frequencies theta^(-2 i / width)."""
        thetas = theta if isinstance(theta, Sequence) else [theta] * len(widths)
        axes = [axis for axis, width in enumerate(widths) for _ in range(width // 2)]
        frequencies = [
            float(base) ** (-2 * i / width)
            for base, width in zip(thetas, widths, strict=True)
            for i in range(width // 2)
        ]
        return cls(tuple(axes), tuple(frequencies), spatial, halves)

    def rotate(self, x: Tensor, positions: Tensor) -> Tensor:
        """x: (heads, tokens, channels), positions: (tokens, axes), both float64."""
        angles = positions[:, list(self.axes)] * torch.tensor(self.frequencies, dtype=torch.float64)
        first, second = self._pairs(x)
        cos, sin = angles.cos(), angles.sin()
        return self._joined(cos * first - sin * second, sin * first + cos * second)

    def scale(self, x: Tensor, high: float, low: float) -> Tensor:
        """Each pair of a spatial axis times high + (low - high) (n / (P - 1))^2, n from the axis' highest frequency."""
        factors = torch.ones(len(self.axes), dtype=torch.float64)
        for axis in self.spatial:
            own = sorted((p for p, other in enumerate(self.axes) if other == axis), key=lambda p: -self.frequencies[p])
            for n, pair in enumerate(own):
                factors[pair] = high + (low - high) * (n / max(len(own) - 1, 1)) ** 2
        first, second = self._pairs(x)
        return self._joined(first * factors, second * factors)

    def _pairs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pairs = len(self.axes)
        assert x.shape[-1] == 2 * pairs, (x.shape, pairs)
        return (x[..., :pairs], x[..., pairs:]) if self.halves else (x[..., 0::2], x[..., 1::2])

    def _joined(self, first: Tensor, second: Tensor) -> Tensor:
        if self.halves:
            return torch.cat([first, second], -1)
        return torch.stack([first, second], -1).flatten(-2)


@dataclass(frozen=True)
class Tokens:
    """The tokens of one attention. image: those of the picture being sampled. width: its tokens along x.

    positions: (tokens, axes), or None where they are absolute. step: from a token to its neighbour along x.
    """

    image: slice
    width: int
    positions: Tensor | None = None
    step: float = 1.0


def grid(*axes: Sequence[float] | Tensor | float) -> Tensor:
    """Positions of an image's tokens, the last axis running fastest; a number stands for an axis of one position."""
    ranges = [torch.as_tensor([axis] if isinstance(axis, int | float) else axis, dtype=torch.float64) for axis in axes]
    return torch.stack([axis.flatten() for axis in torch.meshgrid(*ranges, indexing="ij")], -1)


def line(tokens: int, axes: int, along: Sequence[int] = (), start: float = 0.0) -> Tensor:
    """Positions of a text's tokens: counted from `start` along the axes named, 0 along the others."""
    positions = torch.zeros(tokens, axes, dtype=torch.float64)
    positions[:, list(along)] = start + torch.arange(tokens, dtype=torch.float64)[:, None]
    return positions


def halved(size: int, patch: int = 2) -> int:
    """Tokens along a side of `size` latent pixels; a part of a patch is padded to one."""
    return -(-size // patch)
