"""What the model and previews see of a given reference."""

from __future__ import annotations

from typing import Any

import comfy.model_sampling
import comfy.sample
import comfy.samplers
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from given_reference import ksampler, picture, prediction, seen_by_the_model, with_reference
from sampling import noise, sample, shared
from style_aligned.shared_attention.fixed_noise import fixed_noise
from tiny_models import conditioning
from torch import Tensor


@pytest.mark.parametrize(
    "sampler", ["euler", "heun", "dpmpp_2s_ancestral", "dpm_adaptive", "uni_pc", "dpmpp_sde", "seeds_3"]
)
def test_every_model_call_sees_the_reference_at_its_own_sigma(model, sampler: str):
    """Multi-stage samplers call the model between the steps' noise levels."""
    patched, latent = with_reference(model)
    calls = seen_by_the_model(patched)
    ksampler(patched, latent, sampler_name=sampler)
    clean = model.model.process_latent_in(picture())
    assert len({sigma for sigma, _ in calls}) >= 4
    for sigma, seen in calls:
        torch.testing.assert_close(seen, clean + sigma * fixed_noise(picture()), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", ["eps", "v_prediction", "lcm", "x0", "edm", "flow"])
@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "lcm", "euler_ancestral"])
def test_every_prediction_type(kind: str, sampler: str):
    model = prediction(kind)
    patched, latent = with_reference(shared(model))
    calls = seen_by_the_model(patched)
    assert torch.equal(ksampler(patched, latent, sampler_name=sampler)[:1], picture())
    clean = model.get_model_object("latent_format").process_in(picture())
    for sigma, seen in calls:
        expected = (
            (1 - sigma) * clean + sigma * fixed_noise(picture())
            if kind == "flow"
            else clean + sigma * fixed_noise(picture())
        )
        torch.testing.assert_close(seen, expected, rtol=1e-5, atol=1e-4)


def test_a_cache_that_answers_for_the_model_leaves_the_reference_as_it_is(model):
    """In what callbacks see too, of which the host makes previews and the sampler's denoised output."""

    def cache(_predict_noise, x: Tensor, *_: Any) -> Tensor:
        return x + 1

    cached = model.clone()
    cached.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "cache", cache)
    patched, latent = with_reference(cached)
    shown: list[Tensor] = []
    samples = sample(
        patched, latent=latent["samples"], callback=lambda step, denoised, x, steps: shown.append(denoised[:1])
    )
    assert torch.equal(samples[:1], picture())
    assert len(shown) == 3
    for denoised in shown:
        torch.testing.assert_close(denoised, model.model.process_latent_in(picture()))


def test_previews_show_the_clean_reference(model):
    patched, latent = with_reference(shared(model))
    shown: list[Tensor] = []
    values = {"positive": conditioning(3), "negative": conditioning(1, seed=2)}
    comfy.sample.sample(
        patched, noise(3), 4, 4.0, "euler", "normal", latent_image=latent["samples"], seed=3, disable_pbar=True,
        callback=lambda step, denoised, x, steps: shown.append(denoised[:1].clone()), **values,
    )  # fmt: skip
    assert len(shown) == 4
    for denoised in shown:
        torch.testing.assert_close(denoised, model.model.process_latent_in(picture()))
