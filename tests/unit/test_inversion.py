"""Inversion steps against the float64 oracle and diffusers' scheduler, on functions in place of models."""

from __future__ import annotations

import math

import pytest
import torch
from inversion_oracles import alphas_of, ddim_inversion, flow_inversion, noise_from_v, scaled_linear_alphas
from style_aligned.shared_attention.inversion import inversion_steps
from style_aligned.shared_attention.trajectory import LatentSpace
from torch import Tensor

SIGMAS = [0.0, 0.03, 0.2, 1.0, 4.5, 14.6]
TIMES = [0.0, 0.1, 0.35, 0.7, 1.0]
CLEAN = torch.randn(1, 4, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
VE, FLOW = LatentSpace.VARIANCE_EXPLODING, LatentSpace.FLOW


def network(z: Tensor, told: float) -> Tensor:
    """Stands for a network: neither linear in its input nor constant over noise levels."""
    return torch.sin(1.7 * z + told) + 0.3 * z.roll(1, -1)


def latents(denoise, sigmas: list[float], space: LatentSpace, sigma_data: float = 1.0) -> Tensor:
    steps = inversion_steps(denoise, CLEAN, sigmas, space, sigma_data)
    return torch.cat([CLEAN, *(step.latent for step in steps)])


def denoise_by_noise(x: Tensor, sigma: float) -> Tensor:
    return x - sigma * network(x / math.sqrt(sigma**2 + 1), sigma)


def test_models_that_predict_noise():
    expected = ddim_inversion(lambda z, level: network(z, SIGMAS[level]), CLEAN, alphas_of(SIGMAS))
    torch.testing.assert_close(latents(denoise_by_noise, SIGMAS, VE), torch.cat(expected))


def test_models_that_predict_v():
    alphas = alphas_of(SIGMAS)

    def denoise(x: Tensor, sigma: float) -> Tensor:
        scale = math.sqrt(sigma**2 + 1)
        return x / scale**2 - network(x / scale, sigma) * sigma / scale

    def predict_noise(z: Tensor, level: int) -> Tensor:
        return noise_from_v(z, network(z, SIGMAS[level]), alphas[level])

    torch.testing.assert_close(latents(denoise, SIGMAS, VE), torch.cat(ddim_inversion(predict_noise, CLEAN, alphas)))


def test_edm_models_with_their_own_scale_of_data():
    """EDM: D = c_skip x + c_out F(c_in x), in units of sigma_data the same as a prediction of -v."""
    data = 0.5
    alphas = alphas_of(SIGMAS, data)

    def denoise(x: Tensor, sigma: float) -> Tensor:
        total = sigma**2 + data**2
        return data**2 / total * x + sigma * data / math.sqrt(total) * network(x / math.sqrt(total), sigma)

    def predict_noise(z: Tensor, level: int) -> Tensor:
        return noise_from_v(z, -network(z, SIGMAS[level]), alphas[level])

    expected = data * torch.cat(ddim_inversion(predict_noise, CLEAN / data, alphas))
    torch.testing.assert_close(latents(denoise, SIGMAS, VE, data), expected)


def test_flow_models():
    expected = flow_inversion(lambda x, level: network(x, TIMES[level]), CLEAN, TIMES)
    actual = latents(lambda x, sigma: x - sigma * network(x, sigma), TIMES, FLOW)
    torch.testing.assert_close(actual, torch.cat(expected))


def test_each_step_gives_what_the_model_denoised():
    seen: list[Tensor] = []

    def denoise(x: Tensor, sigma: float) -> Tensor:
        seen.append(denoise_by_noise(x, sigma))
        return seen[-1]

    for number, step in enumerate(inversion_steps(denoise, CLEAN, SIGMAS, VE), start=1):
        assert len(seen) == number, "one model call a step"
        assert step.denoised is seen[-1]


@pytest.mark.parametrize("steps", [10, 50])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_diffusers_inverse_ddim_scheduler(spacing: str, steps: int):
    """On its own timesteps, in its own space, with one prediction of the noise a step."""
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed; the set-up of dev.py has it")
    scheduler = diffusers.DDIMInverseScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=True,
        timestep_spacing=spacing, steps_offset=1 if spacing == "leading" else 0,
    )  # fmt: skip
    scheduler.set_timesteps(steps)
    alphas = scaled_linear_alphas()[scheduler.timesteps]
    sigmas = [0.0, *((1 - alphas) / alphas).sqrt().tolist()]
    expected, z = [CLEAN], CLEAN
    for timestep, sigma in zip(scheduler.timesteps, sigmas[1:], strict=True):
        z = scheduler.step(network(z, sigma), int(timestep), z).prev_sample
        expected.append(z * math.sqrt(sigma**2 + 1))
    # The scheduler's own tables are in float32.
    torch.testing.assert_close(latents(denoise_by_noise, sigmas, VE), torch.cat(expected), rtol=1e-4, atol=1e-4)
