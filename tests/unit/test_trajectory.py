"""The reference's latent at any noise level."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from style_aligned.shared_attention.trajectory import CleanerStart, LatentSpace, NoiseMatched, Trajectory

SIGMAS = torch.tensor([0.0, 0.5, 1.5, 4.0, 14.0])


def trajectory(space: LatentSpace = LatentSpace.VARIANCE_EXPLODING, sigmas: torch.Tensor = SIGMAS) -> Trajectory:
    latents = torch.randn(len(sigmas), 4, 3, 5, generator=torch.Generator().manual_seed(0))
    return Trajectory(sigmas, latents, space, "BaseModel", "SD15")


@given(st.integers(0, len(SIGMAS) - 1))
def test_its_own_levels_are_exact(level: int):
    assert torch.equal(trajectory().at(float(SIGMAS[level])), trajectory().latents[level : level + 1])


@given(st.integers(0, len(SIGMAS) - 2), st.floats(0.001, 0.999))
def test_between_levels_it_is_a_ddim_step_of_part_of_the_way(level: int, part: float):
    """x' = x + (sigma' - sigma) * d with the d that leads from one level to the next."""
    path = trajectory()
    low, high = float(SIGMAS[level]), float(SIGMAS[level + 1])
    derivative = (path.latents[level + 1] - path.latents[level]).double() / (high - low)
    sigma = low + part * (high - low)
    expected = path.latents[level].double() + (sigma - low) * derivative
    torch.testing.assert_close(path.at(sigma)[0].double(), expected, rtol=1e-4, atol=1e-5)


def test_above_the_highest_level_it_follows_the_noise():
    path = trajectory()
    noise = (path.latents[-1] - path.latents[0]) / 14.0
    torch.testing.assert_close(path.at(80.0)[0], path.latents[0] + 80.0 * noise)


def test_noise_matched_is_the_models_own_scaling():
    clean, noise = torch.randn(2, 1, 4, 3, 5)
    flow = NoiseMatched(clean, noise, lambda sigma, noise, clean: (1 - sigma) * clean + sigma * noise)
    torch.testing.assert_close(flow.at(0.25), 0.75 * clean + 0.25 * noise)


def vp(latent: torch.Tensor, sigma: float) -> torch.Tensor:
    """What the model sees of a latent of the sampler's."""
    return latent / (sigma**2 + 1) ** 0.5


@pytest.mark.parametrize("steps", [10, 50])
def test_a_cleaner_start_is_the_authors_callback(steps: int):
    """zts[offset] at first, and zts[max(offset + 1, i + 1)] after step i, noisiest first."""
    offset = 5
    sigmas = torch.linspace(0, 14, steps + 1)
    path = trajectory(sigmas=sigmas)
    noisiest_first = [vp(latent, float(sigma)) for latent, sigma in zip(path.latents, sigmas, strict=True)][::-1]
    start = CleanerStart(path, offset)
    for step in range(steps):
        sigma = float(sigmas[steps - step])
        shown = noisiest_first[offset if step == 0 else max(offset + 1, step)]
        torch.testing.assert_close(vp(start.at(sigma), sigma)[0], shown, rtol=1e-5, atol=1e-6)


@given(st.floats(0.1, 2.0), st.floats(0.01, 13.9))
def test_a_cleaner_start_is_what_a_model_with_its_own_deviation_would_see(sigma_data: float, sigma: float):
    """Such a model divides by sqrt(sigma^2 + sigma_data^2)."""
    path = trajectory()
    shown = min(sigma, float(SIGMAS[-3]))
    seen = CleanerStart(path, 1, sigma_data).at(sigma) / (sigma**2 + sigma_data**2) ** 0.5
    torch.testing.assert_close(seen, path.at(shown) / (shown**2 + sigma_data**2) ** 0.5, rtol=1e-4, atol=1e-5)


def test_a_cleaner_start_of_a_flow_needs_no_rescaling():
    path = trajectory(LatentSpace.FLOW, torch.linspace(0, 1, 6))
    assert torch.equal(CleanerStart(path, 2).at(1.0), path.latents[3:4])
    assert torch.equal(CleanerStart(path, 2).at(0.8), path.latents[2:3])


def test_a_larger_offset_than_levels_shows_the_clean_reference():
    path = trajectory(LatentSpace.FLOW)
    assert torch.equal(CleanerStart(path, 99).at(14.0), path.clean)


@pytest.mark.parametrize(
    ("sigmas", "latents", "message"),
    [
        (torch.tensor([0.0, 1.0]), torch.zeros(3, 4, 2, 2), "one latent for each"),
        (torch.tensor([0.0, 1.0]), torch.zeros(2, 4, 2), "one latent for each"),
        (torch.tensor([0.0]), torch.zeros(1, 4, 2, 2), "rise from 0"),
        (torch.tensor([0.1, 1.0]), torch.zeros(2, 4, 2, 2), "rise from 0"),
        (torch.tensor([0.0, 0.0, 1.0]), torch.zeros(3, 4, 2, 2), "rise from 0"),
    ],
)
def test_parts_that_do_not_fit_are_refused(sigmas, latents, message):
    with pytest.raises(ValueError, match=message):
        Trajectory(sigmas, latents, LatentSpace.VARIANCE_EXPLODING, "BaseModel", "SD15")
