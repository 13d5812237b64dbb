"""The noise schedule and a plain DDIM sampler for the icon model, for the sheets drawn while it trains."""

from collections.abc import Callable

import torch
from torch import Tensor

TIMESTEPS = 1000

Predict = Callable[[Tensor, Tensor, Tensor], Tensor]  # noised, timesteps (rows,), tokens -> v


def signal_powers() -> Tensor:
    """Stable Diffusion's cumulative alphas `(TIMESTEPS,)`, which are the host's default."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, TIMESTEPS, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()


def sample(predict: Predict, noise: Tensor, tokens: Tensor, nothing: Tensor, steps: int, cfg: float = 3.0) -> Tensor:
    """Clean latents from noise `(rows, 3, height, width)` by DDIM."""
    powers = signal_powers().to(noise.device)
    timesteps = torch.linspace(TIMESTEPS - 1, 0, steps).round().long().to(noise.device)
    x = noise
    for step, timestep in enumerate(timesteps):
        rows = timestep.expand(len(x))
        velocity = predict(x, rows, tokens).lerp(predict(x, rows, nothing), 1 - cfg)
        power = powers[timestep]
        after = powers[timesteps[step + 1]] if step + 1 < steps else torch.ones_like(power)
        x = ddim_step(x, velocity, power, after)
    return x


def ddim_step(x: Tensor, velocity: Tensor, power: Tensor, after: Tensor) -> Tensor:
    """To another share of the signal in the power; both broadcast to x (Song et al. 2021, eq. 12 with sigma 0)."""
    clean = power.sqrt() * x - (1 - power).sqrt() * velocity
    noise = (1 - power).sqrt() * x + power.sqrt() * velocity
    return after.sqrt() * clean + (1 - after).sqrt() * noise
