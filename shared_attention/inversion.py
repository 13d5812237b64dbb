"""Deterministic DDIM inversion: from a clean latent, level by level, to the noise that it could have been sampled from.

A step of DDIM down from noise level s' to s, in the latents x = x0 + sigma * noise of a sampler, is

    x_s = x_s' + (s - s') * e        e = (x_s' - denoised(x_s', s')) / s', the noise that the model predicts

On the way up x_s' is what is sought. The authors' inversion.py and diffusers' DDIMInverseScheduler give the model the
latent of the *current* level and the timestep of the *next* one, and so does this:

    z = x_s / sqrt(s^2 + 1)          the latent as models see it, not scaled anew for the next level
    e = eps(z, t')                   for a model that predicts v, eps(z, t') = (s' * z + v(z, t')) / sqrt(s'^2 + 1)
    x_s' = x_s + (s' - s) * e

The first step, from s = 0 where e would be 0 / 0, is then like any other. (For v, diffusers' scheduler takes s in place
of s' in eps; the icon model's reconstructions are a quarter to a half further off with that.) EDM's models have
sigma_data in place of 1. Flow models, x = (1 - s) * x0 + s * noise, see x as it is, and Euler's step backwards is

    x_s' = x_s + (s' - s) * u        u = (x_s - denoised(x_s, s')) / s', the velocity u(x_s, s') = noise - x0

Only what a model denoises is asked for, so guidance and whatever else acts on that is within the prediction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from .trajectory import LatentSpace

Denoise = Callable[[Tensor, float], Tensor]
"""(latent in the sampler's space, sigma) -> the clean latent that the model sees in it."""


class InversionStep(NamedTuple):
    """latent: that of the level which the step reaches; denoised: the clean latent that the model saw."""

    latent: Tensor
    denoised: Tensor


def inversion_steps(
    denoise: Denoise, clean: Tensor, sigmas: Sequence[float], space: LatentSpace, sigma_data: float = 1.0
) -> Iterator[InversionStep]:
    """The steps up from `clean`, at sigmas[0] = 0, through the rising levels. Latents: (1, channels, height, width)."""
    latent = clean
    for sigma, next_sigma in pairwise(sigmas):
        # Before the model the host divides by the scale of the level that it is told: the next one's.
        scale = 1.0 if space is LatentSpace.FLOW else math.hypot(next_sigma, sigma_data) / math.hypot(sigma, sigma_data)
        shown = latent * scale
        denoised = denoise(shown, next_sigma)
        latent = latent + (next_sigma - sigma) * (shown - denoised) / next_sigma
        yield InversionStep(latent, denoised)
