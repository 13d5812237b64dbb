"""The state of a run that holds a reference: in whichever thread the host samples, and gone afterwards."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import comfy.model_patcher
import comfy.samplers
import comfy_extras.nodes_custom_sampler as custom_sampler
import pytest
import torch
from comfy.k_diffusion.sampling import sample_euler
from given_reference import ksampler, picture, seen_by_the_model, with_reference
from sampling import sample, shared
from style_aligned.shared_attention.fixed_noise import fixed_noise
from style_aligned.shared_attention.host.calls import ROW_REFERENCE as KEY
from tiny_models import conditioning, smooth_model
from torch import Tensor


def advanced(guider, latent: dict, function: Callable = sample_euler) -> Tensor:
    """The host's Sampler Custom (Advanced) node, with a sampler of any function."""
    noise = custom_sampler.RandomNoise.execute(3).result[0]
    sigmas = custom_sampler.BasicScheduler.execute(guider.model_patcher, "normal", 3, 1.0).result[0]
    sampler = comfy.samplers.KSAMPLER(function)
    return custom_sampler.SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent).result[0]["samples"]


def guider_of(patched):
    return custom_sampler.CFGGuider.execute(patched, conditioning(3), conditioning(1, seed=2), 4.0).result[0]


def in_a_thread(model, x: Tensor, sigmas: Tensor, **options) -> Tensor:
    """A sampler that asks for its predictions from a worker, as samplers over several devices do."""

    def predict(*args, **kwargs) -> Tensor:
        with torch.inference_mode():
            return model(*args, **kwargs)

    with ThreadPoolExecutor(1) as pool:

        def ask(*args, **kwargs) -> Tensor:
            return pool.submit(predict, *args, **kwargs).result()

        return sample_euler(ask, x, sigmas, **options)


def without_options(model, x: Tensor, sigmas: Tensor, extra_args: dict, **options) -> Tensor:
    """A sampler that does not hand the run's options on."""
    kept = {"denoise_mask": extra_args["denoise_mask"]}
    return sample_euler(model, x, sigmas, extra_args=kept, **options)


def with_copied_options(model, x: Tensor, sigmas: Tensor, extra_args: dict, **options) -> Tensor:
    """As samplers that add a function of their own to them do."""
    copied = comfy.model_patcher.create_model_options_clone(extra_args["model_options"])
    return sample_euler(model, x, sigmas, extra_args={**extra_args, "model_options": copied}, **options)


@pytest.mark.parametrize("function", [in_a_thread, with_copied_options], ids=lambda function: function.__name__)
def test_every_prediction_has_the_reference(model, function: Callable):
    patched, latent = with_reference(shared(model))
    calls = seen_by_the_model(patched)
    samples = advanced(guider_of(patched), latent, function)
    clean = model.model.process_latent_in(picture())
    assert len(calls) == 3
    for sigma, seen in calls:
        torch.testing.assert_close(seen, clean + sigma * fixed_noise(picture()), rtol=1e-5, atol=1e-4)
    assert torch.equal(samples, advanced(guider_of(patched), latent))


def test_a_sampler_that_leaves_the_options_out_has_the_reference(model):
    patched, latent = with_reference(model)
    shown: list[Tensor] = []

    def watched(model, x: Tensor, sigmas: Tensor, callback, **options) -> Tensor:
        def watch(step: dict) -> None:
            shown.append(step["denoised"][:1].clone())

        return without_options(model, x, sigmas, callback=watch, **options)

    advanced(guider_of(patched), latent, watched)
    assert len(shown) == 3
    for denoised in shown:
        torch.testing.assert_close(denoised, model.model.process_latent_in(picture()))


class Interrupted(Exception):
    """Raised in the middle of a run."""


def interrupted(*_: object, **__: object) -> Tensor:
    raise Interrupted


@pytest.mark.parametrize("function", [sample_euler, interrupted], ids=["done", "interrupted"])
def test_nothing_remains(model, function: Callable):
    before, options = sample(model), repr(model.model_options)
    patched, latent = with_reference(shared(model))
    patched_options, guider = repr(patched.model_options), guider_of(patched)
    try:
        advanced(guider, latent, function)
        assert function is sample_euler
    except Interrupted:
        assert function is interrupted
    assert KEY not in guider.model_options.get("transformer_options", {})
    assert repr(patched.model_options) == patched_options
    assert repr(model.model_options) == options
    assert torch.equal(sample(model), before)


def test_a_run_inside_a_run_has_its_own_reference(model):
    """A sampler may sample something else at each step."""
    inner, inner_latent = with_reference(smooth_model(), picture(12))
    outer, latent = with_reference(model)

    def nested(model, x: Tensor, sigmas: Tensor, **options) -> Tensor:
        def ask(*args, **kwargs) -> Tensor:
            assert torch.equal(ksampler(inner, inner_latent, steps=1)[:1], picture(12))
            return model(*args, **kwargs)

        return sample_euler(ask, x, sigmas, **options)

    calls = seen_by_the_model(outer)
    advanced(guider_of(outer), latent, nested)
    clean = model.model.process_latent_in(picture())
    assert len(calls) == 3
    for sigma, seen in calls:
        torch.testing.assert_close(seen, clean + sigma * fixed_noise(picture()), rtol=1e-5, atol=1e-4)
