"""How pictures are noised, level by level, and a plain sampler for the sheets drawn while a model trains.

A `timestep` is the number of a noise level, 0 the least noised of TIMESTEPS. At each

    noised = signal * clean + noise_level * noise
    velocity = noise_share * noise - clean_share * clean

is what a model gets and what it predicts. In both processes here signal * noise_share + noise_level * clean_share = 1,
so that clean picture and noise follow from the two by the same shares.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

TIMESTEPS = 1000

Predict = Callable[[Tensor, Tensor, Tensor], Tensor]  # noised, timesteps (rows,), tokens -> velocity


class Process(NamedTuple):
    """All are `(TIMESTEPS,)`; the methods take pictures `(rows, channels, height, width)` and timesteps `(rows,)`."""

    signal: Tensor
    noise_level: Tensor
    noise_share: Tensor
    clean_share: Tensor

    def noised(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        return _at(self.signal, timesteps) * clean + _at(self.noise_level, timesteps) * noise

    def velocity(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        return _at(self.noise_share, timesteps) * noise - _at(self.clean_share, timesteps) * clean

    def noise_in(self, noised: Tensor, clean: Tensor, timesteps: Tensor) -> Tensor:
        """The noise that makes `noised` of the clean picture."""
        return (noised - _at(self.signal, timesteps) * clean) / _at(self.noise_level, timesteps)

    def parts(self, noised: Tensor, velocity: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """The clean picture and the noise that a velocity stands for."""
        clean = _at(self.noise_share, timesteps) * noised - _at(self.noise_level, timesteps) * velocity
        noise = _at(self.clean_share, timesteps) * noised + _at(self.signal, timesteps) * velocity
        return clean, noise

    def step(self, noised: Tensor, velocity: Tensor, timesteps: Tensor, after: Tensor) -> Tensor:
        """Straight to the level `after`: DDIM (Song et al. 2021, eq. 12 with sigma 0), and Euler's rule for a flow."""
        return self.noised(*self.parts(noised, velocity, timesteps), after)

    def power(self) -> Tensor:
        """The signal's share of the power."""
        return self.signal**2 / (self.signal**2 + self.noise_level**2)

    def to(self, device: torch.device | str) -> "Process":
        return Process(*(each.to(device) for each in self))


def _at(table: Tensor, timesteps: Tensor) -> Tensor:
    return table[timesteps].view(-1, 1, 1, 1)


def diffusion() -> Process:
    """Stable Diffusion's noise levels, which are the host's default, and v-prediction (Salimans and Ho 2022)."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, TIMESTEPS, dtype=torch.float64) ** 2
    power = torch.cumprod(1 - betas, 0).float()
    signal, noise_level = power.sqrt(), (1 - power).sqrt()
    return Process(signal, noise_level, noise_share=signal, clean_share=noise_level)


def rectified_flow() -> Process:
    """The straight line from picture to noise (Liu et al. 2023), at the host's noise levels: 1/TIMESTEPS to 1."""
    noise_level = torch.arange(1, TIMESTEPS + 1) / TIMESTEPS
    one = torch.ones(TIMESTEPS)
    return Process(1 - noise_level, noise_level, noise_share=one, clean_share=one)


def sample(
    predict: Predict, process: Process, noise: Tensor, tokens: Tensor, nothing: Tensor, steps: int, cfg: float = 3.0
) -> Tensor:
    """Clean latents from noise `(rows, 3, height, width)`, at evenly spaced timesteps."""
    timesteps = torch.linspace(TIMESTEPS - 1, 0, steps).round().long().to(noise.device)
    x = noise
    for step, timestep in enumerate(timesteps):
        now = timestep.expand(len(x))
        velocity = predict(x, now, tokens).lerp(predict(x, now, nothing), 1 - cfg)
        if step + 1 == steps:
            return process.parts(x, velocity, now)[0]
        x = process.step(x, velocity, now, timesteps[step + 1].expand(len(x)))
    raise ValueError(f"{steps} steps were asked for; at least one is needed")
