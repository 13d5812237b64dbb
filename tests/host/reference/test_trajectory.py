"""A reference that follows an inverted trajectory, in the host's samplers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from given_reference import ksampler, picture, prediction, seen_by_the_model, with_reference
from oracles import relative_error
from sampling import shared
from style_aligned.nodes.invert import StyleAlignedInvert
from style_aligned.shared_attention.trajectory import Trajectory
from tiny_models import conditioning

STEPS = 12


@pytest.fixture(scope="module")
def trajectory(model) -> Trajectory:
    with torch.inference_mode():
        latent = {"samples": picture()}
        return StyleAlignedInvert.execute(model, conditioning(), latent, STEPS, 2.0, conditioning(seed=2)).result[0]


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2s_ancestral", "uni_pc", "lcm"])
def test_every_model_call_sees_the_trajectory_at_its_own_sigma(model, trajectory, sampler: str):
    patched, latent = with_reference(shared(model), trajectory=trajectory)
    calls = seen_by_the_model(patched)
    assert torch.equal(ksampler(patched, latent, sampler_name=sampler)[:1], picture())
    assert len(calls) >= 4
    for sigma, seen in calls:
        torch.testing.assert_close(seen, trajectory.at(sigma))


def test_at_the_trajectorys_own_levels_it_is_the_inverted_latent(model, trajectory):
    patched, latent = with_reference(model, trajectory=trajectory)
    calls = seen_by_the_model(patched)
    ksampler(patched, latent, steps=STEPS)
    for (sigma, seen), level in zip(calls, reversed(range(1, STEPS + 1)), strict=True):
        assert sigma == pytest.approx(float(trajectory.sigmas[level]), rel=1e-5)
        torch.testing.assert_close(seen[0], trajectory.latents[level], rtol=1e-4, atol=1e-4)


def test_the_trajectory_matters(model, trajectory):
    matched, followed = (with_reference(shared(model), trajectory=path) for path in (None, trajectory))
    assert relative_error(ksampler(*followed)[1:], ksampler(*matched)[1:]) > 1e-3


def test_an_offset_shows_a_cleaner_reference_at_first(model, trajectory):
    """What the model sees, the host's division by sqrt(sigma^2 + 1) included, is a later level's latent."""
    patched, latent = with_reference(model, trajectory=trajectory, offset=3)
    calls = seen_by_the_model(patched)
    ksampler(patched, latent, steps=STEPS)
    levels = [STEPS - 3, STEPS - 4, STEPS - 4, STEPS - 4, STEPS - 4, STEPS - 5]
    for (sigma, seen), level in zip(calls, levels, strict=False):
        shown = float(trajectory.sigmas[level])
        expected = trajectory.latents[level] / (shown**2 + 1) ** 0.5
        torch.testing.assert_close(seen[0] / (sigma**2 + 1) ** 0.5, expected, rtol=1e-3, atol=1e-4)


def test_an_offset_with_a_model_of_its_own_deviation():
    """EDM models, such as Playground 2.5, take latents to have a deviation of 0.5."""
    edm = prediction("edm")
    latent = {"samples": picture()}
    inverted = StyleAlignedInvert.execute(edm, conditioning(), latent, STEPS, 1.0, None).result[0]
    patched, latent = with_reference(edm, trajectory=inverted, offset=6)
    calls = seen_by_the_model(patched)
    ksampler(patched, latent, steps=STEPS)
    sampling = edm.get_model_object("model_sampling")
    assert sampling.sigma_data == 0.5
    for (sigma, seen), level in zip(calls, [STEPS - 6, *[STEPS - 7] * 5], strict=False):
        shown = inverted.sigmas[level]
        expected = sampling.calculate_input(shown, inverted.latents[level])
        torch.testing.assert_close(
            sampling.calculate_input(torch.tensor(sigma), seen[0]), expected, rtol=1e-3, atol=1e-4
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "SDXL"}, "another kind of model: SDXL with SD15"),
        ({"latent_format": "SDXL"}, "another kind of model"),
        ({"latents": torch.randn(STEPS + 1, 4, 8, 16)}, "another size: 16 x 8 in latent pixels"),
        ({"latents": torch.randn(STEPS + 1, 4, 8, 8)}, "made from another picture"),
    ],
    ids=["model", "latent format", "size", "picture"],
)
def test_a_trajectory_of_something_else_is_refused_before_sampling(model, trajectory, change: dict, message: str):
    with pytest.raises(ValueError, match=message):
        with_reference(model, trajectory=replace(trajectory, **change))
