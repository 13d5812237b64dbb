"""The reference's latent at any noise level: noise-matched, or along an inverted trajectory.

Latents here are in the sampler's space, (1, channels, height, width), with some models (1, channels, 1, height, width):

    x = x0 + sigma * noise                  variance exploding: models that predict noise, v, or as in EDM
    x = (1 - sigma) * x0 + sigma * noise    flow models

There a step of deterministic DDIM, or of a flow's Euler solver, is linear in sigma. So the straight line between two
levels of an inverted trajectory is the inverted path itself, at any sigma that a sampler asks for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import torch
from torch import Tensor

_SAME_LEVEL = 1e-6
"""Relative."""


class LatentSpace(Enum):
    """How a sampler's latents mix signal and noise."""

    VARIANCE_EXPLODING = "variance exploding"
    FLOW = "flow"


class ReferencePath(Protocol):
    """The reference from pure noise to the clean latent."""

    def at(self, sigma: float, visit: int = 0) -> Tensor:
        """The reference's latent at noise level `sigma`: (1, channels, height, width).

        visit: how often a sampler has been at that level before; some come back to it with another latent.
        """
        ...

    def visits(self, sigma: float) -> int:
        """How many latents there are at `sigma`, 1 or more."""
        ...


@dataclass(frozen=True, eq=False)
class NoiseMatched:
    """The clean latent with one fixed noise, scaled as the model scales noise. No model call is needed."""

    clean: Tensor
    noise: Tensor
    noise_scaling: Callable[[float, Tensor, Tensor], Tensor]
    """(sigma, noise, clean) -> latent."""

    def at(self, sigma: float, visit: int = 0) -> Tensor:
        return self.noise_scaling(sigma, self.noise, self.clean)

    def visits(self, sigma: float) -> int:
        return 1


@dataclass(frozen=True, eq=False)
class Trajectory:
    """The path of a reference, inverted or as it was sampled: its latent at each of several noise levels.

    sigmas: (levels,), rising from 0; a level at which a sampler has been several times is there as often, in the order
    of its visits. latents: (levels, channels, height, width) float32 on the CPU, in the
    sampler's space of a `model` such as SDXL with latents of `latent_format` (the host's class names); the first is the
    clean latent. Raises ValueError where these do not fit together.
    """

    sigmas: Tensor
    latents: Tensor
    space: LatentSpace
    model: str
    latent_format: str

    def __post_init__(self) -> None:
        if self.sigmas.ndim != 1 or self.latents.ndim not in (4, 5) or len(self.sigmas) != len(self.latents):
            raise ValueError(
                f"A trajectory needs one latent for each noise level; this one has sigmas of shape "
                f"{tuple(self.sigmas.shape)} and latents of shape {tuple(self.latents.shape)}."
            )
        rises = len(self.sigmas) > 1 and bool((self.sigmas.diff() >= 0).all()) and bool(self.sigmas[1] > 0)
        if self.sigmas[0] != 0 or not rises:
            raise ValueError("A trajectory's noise levels have to rise from 0.")

    @property
    def clean(self) -> Tensor:
        return self.latents[:1]

    def at(self, sigma: float, visit: int = 0) -> Tensor:
        """The latent at `sigma`, linear between levels; above the highest, along the noise of that level."""
        first, after = self._place(sigma)
        if after > first:
            level = min(first + visit, after - 1)
            return self.latents[level : level + 1]
        lower, upper = first - 1, first
        if upper == len(self.sigmas):
            lower, upper = 0, upper - 1
        low, high = float(self.sigmas[lower]), float(self.sigmas[upper])
        return torch.lerp(
            self.latents[lower : lower + 1], self.latents[upper : upper + 1], (sigma - low) / (high - low)
        )

    def visits(self, sigma: float) -> int:
        first, after = self._place(sigma)
        return max(after - first, 1)

    def _place(self, sigma: float) -> tuple[int, int]:
        """The first level that is not below `sigma`, and the first one above it."""
        # Samplers compute levels between their schedule's, which rounding may take a little off.
        near = sigma * torch.tensor([1 - _SAME_LEVEL, 1 + _SAME_LEVEL], dtype=torch.float64)
        first, after = torch.searchsorted(self.sigmas.double(), near).tolist()
        return (0, 1) if sigma <= 0 else (first, after)


@dataclass(frozen=True, eq=False)
class CleanerStart:
    """A trajectory that shows a cleaner reference in the first steps (the authors' offset, 5 of 50 steps).

    Until the sampler has come down to it, the reference is that of level `offset` + 1 below the highest (of level
    `offset` in the first step), given to the model as if it were of the sampler's noise level.
    """

    trajectory: Trajectory
    offset: int
    sigma_data: float = 1.0
    """The deviation that the model takes clean latents to have; it divides what it sees by that and sigma's."""

    def visits(self, sigma: float) -> int:
        return 1

    def at(self, sigma: float, visit: int = 0) -> Tensor:
        sigmas = self.trajectory.sigmas
        is_first = sigma >= float(sigmas[-1]) * (1 - 1e-4)
        level = max(len(sigmas) - 1 - self.offset - (0 if is_first else 1), 0)
        shown = min(sigma, float(sigmas[level]))
        latent = self.trajectory.at(shown)
        if self.trajectory.space is LatentSpace.FLOW:
            return latent
        # The model divides by sqrt(sigma^2 + sigma_data^2): what it sees has to be what it would see at `shown`.
        variance = self.sigma_data**2
        return latent * math.sqrt((sigma**2 + variance) / (shown**2 + variance))
