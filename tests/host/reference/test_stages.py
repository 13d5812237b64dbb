"""A given reference through several stages of sampling, and beside any number of targets."""

from __future__ import annotations

from dataclasses import replace

import comfy.samplers
import comfy_extras.nodes_custom_sampler as custom_sampler
import pytest
import torch
from given_reference import ksampler, picture, prediction, seen_by_the_model, with_reference
from sampling import shared
from style_aligned.nodes.invert import StyleAlignedInvert
from style_aligned.shared_attention.fixed_noise import fixed_noise
from tiny_models import conditioning
from torch import Tensor

STEPS, HALF = 6, 3


def sigmas(model) -> Tensor:
    return comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", STEPS)


def first_half(patched, latent: dict, **options) -> Tensor:
    return ksampler(patched, latent, steps=STEPS, last_step=HALF, force_full_denoise=False, **options)


def second_half(patched, latent: dict, **options) -> Tensor:
    values = {"steps": STEPS, "start_step": HALF, "disable_noise": True, "force_full_denoise": True, **options}
    return ksampler(patched, latent, **values)


def noisy(model, sigma: float) -> Tensor:
    """The reference with its noise at `sigma` as a LATENT, from the equations of the model's kind."""
    clean, noise = model.get_model_object("latent_format").process_in(picture()), fixed_noise(picture())
    is_flow = isinstance(model.get_model_object("model_sampling"), comfy.model_sampling.CONST)
    x = clean + (sigma / (1 - sigma) if is_flow else sigma) * noise
    return model.get_model_object("latent_format").process_out(x)


@pytest.mark.parametrize("kind", ["eps", "v_prediction", "edm", "flow"])
def test_two_stages_are_one(kind: str):
    """KSampler Advanced: row 0 leaves at the level at which the first stage ends, as the others do, and goes on."""
    model = prediction(kind)
    patched, latent = with_reference(shared(model))
    calls = seen_by_the_model(patched)
    first = first_half(patched, latent)
    torch.testing.assert_close(first[:1], noisy(model, float(sigmas(model)[HALF])), rtol=1e-4, atol=1e-4)
    second = second_half(patched, {**latent, "samples": first}, seed=99)
    assert torch.equal(second[:1], picture())
    whole = ksampler(patched, latent, steps=STEPS)
    torch.testing.assert_close(second, whole, rtol=1e-3, atol=1e-3)
    assert len(calls) == 2 * len(sigmas(model)[:-1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_latent_in_half_precision_goes_on(model, dtype: torch.dtype):
    patched, latent = with_reference(model)
    first = first_half(patched, latent).to(dtype)
    assert torch.equal(second_half(patched, {**latent, "samples": first})[:1].float(), picture())


def test_a_stage_without_the_reference_takes_a_row_as_noisy_as_the_others(model):
    patched, latent = with_reference(model)
    first = first_half(patched, latent)
    calls = seen_by_the_model(plain := model.clone())
    second_half(plain, {**latent, "samples": first})
    clean = model.model.process_latent_in(picture())
    sigma, seen = calls[0]
    assert sigma == pytest.approx(float(sigmas(model)[HALF]))
    torch.testing.assert_close(seen, clean + sigma * fixed_noise(picture()), rtol=1e-5, atol=1e-4)


def test_a_trajectory_leaves_along_itself(model):
    inverted = StyleAlignedInvert.execute(model, conditioning(), {"samples": picture()}, 8, 2.0, None).result[0]
    for offset in (0, 2):  # what the model is shown at first is no noise level of a stage
        patched, latent = with_reference(shared(model), trajectory=inverted, offset=offset)
        first = first_half(patched, latent)
        left = model.model.process_latent_out(inverted.at(float(sigmas(model)[HALF])))
        torch.testing.assert_close(first[:1], left)
        assert torch.equal(second_half(patched, {**latent, "samples": first})[:1], picture())


def test_noising_along_flipped_sigmas(model):
    """The host's unsampling: from the clean picture up, and down again."""
    patched, latent = with_reference(shared(model), start_from="reference")
    falling = sigmas(model)[1:]
    rising = custom_sampler.FlipSigmas.execute(falling).result[0]
    sampler, positive, negative = comfy.samplers.sampler_object("euler"), conditioning(3), conditioning(1, seed=2)
    up = custom_sampler.SamplerCustom.execute(
        patched, False, 0, 1.0, positive, negative, sampler, rising, latent
    ).result[0]
    torch.testing.assert_close(up["samples"][:1], noisy(model, float(rising[-1])), rtol=1e-4, atol=1e-4)
    down = custom_sampler.SamplerCustom.execute(patched, False, 0, 1.0, positive, negative, sampler, falling, up)
    assert torch.equal(down.result[0]["samples"][:1], picture())


def one_stage(patched, latent: dict) -> Tensor:
    return ksampler(patched, latent, positive=conditioning(1), steps=STEPS)


def two_stages(patched, latent: dict) -> Tensor:
    first = first_half(patched, latent, positive=conditioning(1))
    return second_half(patched, {**latent, "samples": first}, positive=conditioning(1), seed=8)


def refined(patched, latent: dict) -> Tensor:
    """A second stage with noise of its own, of another seed."""
    first = one_stage(patched, latent)
    return ksampler(patched, {**latent, "samples": first}, positive=conditioning(1), denoise=0.5, seed=8)


@pytest.mark.parametrize("sampled", [one_stage, two_stages, refined], ids=lambda stages: stages.__name__)
@pytest.mark.parametrize("start_from", ["noise", "reference"])
def test_more_targets_change_none_that_were_there(model, sampled, start_from: str):
    few, many = (sampled(*with_reference(shared(model), targets=n, start_from=start_from)) for n in (2, 3))
    assert torch.equal(many[:3], few)


def test_the_reference_is_the_same_beside_any_number_of_targets_and_for_any_seed(model):
    seen = []
    for targets, seed in ((1, 3), (5, 3), (2, 4)):
        patched, latent = with_reference(model, targets=targets)
        calls = seen_by_the_model(patched)
        ksampler(patched, latent, seed=seed)
        seen.append(calls)
    for calls in seen[1:]:
        assert all(torch.equal(row, first) for (_, row), (_, first) in zip(calls, seen[0], strict=True))


def test_another_schedule_in_the_second_stage(model):
    """A refiner may start at another level than the base model ended at."""
    patched, latent = with_reference(shared(model))
    first = first_half(patched, latent)
    second = second_half(patched, {**latent, "samples": first}, start_step=HALF + 1)
    assert torch.equal(second[:1], picture())


def test_a_trajectory_for_the_second_stage_only(model):
    inverted = StyleAlignedInvert.execute(model, conditioning(), {"samples": picture()}, 8, 2.0, None).result[0]
    first = first_half(*with_reference(shared(model)))
    patched, latent = with_reference(shared(model), trajectory=replace(inverted))
    assert torch.equal(second_half(patched, {**latent, "samples": first})[:1], picture())
