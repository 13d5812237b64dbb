"""DDIM inversion and its counterpart for flows in float64, written from the papers' equations; no code of the pack."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Model = Callable[[Tensor, int], Tensor]
"""(the latent as the network sees it, the number of the level that the network is told) -> its prediction."""


def ddim_inversion(predict_noise: Model, clean: Tensor, alphas: Sequence[float]) -> list[Tensor]:
    """The latents of all levels, each divided by sqrt(alpha). alphas: cumulative products, falling from 1.

    DDIM, equation 12 with sigma_t = 0, from one level to the next:

        z' = sqrt(a') (z - sqrt(1 - a) e) / sqrt(a) + sqrt(1 - a') e
    """
    z = clean.double() * alphas[0] ** 0.5
    latents = [z / alphas[0] ** 0.5]
    for level in range(1, len(alphas)):
        alpha, next_alpha = alphas[level - 1], alphas[level]
        noise = predict_noise(z, level)
        predicted_clean = (z - (1 - alpha) ** 0.5 * noise) / alpha**0.5
        z = next_alpha**0.5 * predicted_clean + (1 - next_alpha) ** 0.5 * noise
        latents.append(z / next_alpha**0.5)
    return latents


def flow_inversion(velocity: Model, clean: Tensor, times: Sequence[float]) -> list[Tensor]:
    """dx/dt = u(x, t) by Euler's method, from t = 0 up; u is asked at the time that the step goes to."""
    latents = [clean.double()]
    for level in range(1, len(times)):
        latents.append(latents[-1] + (times[level] - times[level - 1]) * velocity(latents[-1], level))
    return latents


def alphas_of(sigmas: Sequence[float], sigma_data: float = 1.0) -> list[float]:
    """The share of signal in a variance-preserving latent at each noise level, for clean latents of `sigma_data`."""
    return [sigma_data**2 / (sigma_data**2 + sigma**2) for sigma in sigmas]


def noise_from_v(z: Tensor, v: Tensor, alpha: float) -> Tensor:
    """Progressive distillation, appendix D: v = sqrt(a) e - sqrt(1 - a) x0 and z = sqrt(a) x0 + sqrt(1 - a) e."""
    return alpha**0.5 * v + (1 - alpha) ** 0.5 * z


def scaled_linear_alphas(steps: int = 1000) -> Tensor:
    """Stable Diffusion's noise schedule: (steps,), in float64."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, steps, dtype=torch.float64) ** 2
    return (1 - betas).cumprod(0)
