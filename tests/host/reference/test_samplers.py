"""A given latent in row 0, with every sampler of the host."""

from __future__ import annotations

import comfy.model_sampling
import comfy.sample
import comfy.samplers
import comfy_extras.nodes_custom_sampler as custom_sampler
import pytest
import torch
from every_day import every_day
from given_reference import ksampler, picture, with_reference
from oracles import relative_error
from sampling import shared
from tiny_models import conditioning


@pytest.mark.parametrize("settings", every_day([{"cfg": 7.0}, {"cfg": 1.0, "denoise": 0.5}], [{"cfg": 7.0}]), ids=str)
@pytest.mark.parametrize("sampler", comfy.samplers.KSampler.SAMPLERS)
def test_row_0_is_the_reference_with_every_sampler(model, sampler: str, settings: dict):
    patched, latent = with_reference(shared(model))
    samples = ksampler(patched, latent, sampler_name=sampler, **settings)
    assert torch.equal(samples[:1], picture())
    assert samples.isfinite().all()
    assert samples[1:].std() > 0


@pytest.mark.parametrize("scheduler", comfy.samplers.KSampler.SCHEDULERS)
def test_row_0_is_the_reference_with_every_scheduler(model, scheduler: str):
    patched, latent = with_reference(model)
    assert torch.equal(ksampler(patched, latent, scheduler=scheduler)[:1], picture())


@pytest.mark.parametrize("start_from", ["noise", "reference"])
def test_targets_are_what_they_are_without_the_reference_row(model, start_from: str):
    """Without sharing the reference row changes nothing for them."""
    patched, latent = with_reference(model, targets=3, start_from=start_from)
    together = ksampler(patched, latent, denoise=0.6)[1:]
    without = {"samples": (picture() if start_from == "reference" else torch.zeros(1, 4, 8, 8)).repeat(3, 1, 1, 1)}
    positive = conditioning(4)
    targets_only = [[positive[0][0][1:], {"pooled_output": positive[0][1]["pooled_output"][1:]}]]
    alone = ksampler(model, without, denoise=0.6, positive=targets_only)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-3)


def test_the_reference_gives_its_style(model):
    """Another reference, other targets: with sharing, and only with it."""
    one, other = (with_reference(shared(model), picture(seed)) for seed in (11, 12))
    assert relative_error(ksampler(*one)[1:], ksampler(*other)[1:]) > 1e-3
    one, other = (with_reference(model, picture(seed)) for seed in (11, 12))
    torch.testing.assert_close(ksampler(*one)[1:], ksampler(*other)[1:], rtol=1e-4, atol=1e-4)


def test_sharing_and_reference_in_either_order(model):
    patched, latent = with_reference(shared(model, shift=0.5))
    other_way = shared(with_reference(model)[0], shift=0.5)
    assert torch.equal(ksampler(patched, latent), ksampler(other_way, latent))


def test_strength(model):
    """From the reference itself: the less denoise, the closer the targets stay to it."""
    patched, latent = with_reference(shared(model), start_from="reference")
    distances = [
        relative_error(ksampler(patched, latent, denoise=denoise, cfg=1.0)[1:], picture().repeat(2, 1, 1, 1))
        for denoise in (0.1, 0.4, 0.8)
    ]
    assert distances == sorted(distances)
    assert distances[0] < 0.5 * distances[2]


def test_custom_sampling_with_any_guider(model):
    patched, latent = with_reference(shared(model))
    rows = conditioning(3), conditioning(1, seed=2), conditioning(3, seed=4)
    guiders = [
        custom_sampler.CFGGuider.execute(patched, rows[0], rows[1], 5.0).result[0],
        custom_sampler.BasicGuider.execute(patched, rows[0]).result[0],
        custom_sampler.DualCFGGuider.execute(patched, rows[0], rows[2], rows[1], 4.0, 3.0, "regular").result[0],
    ]
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "karras", 4)
    draw = custom_sampler.RandomNoise.execute(3).result[0]
    for guider in guiders:
        sampler = comfy.samplers.sampler_object("dpmpp_2m")
        out = custom_sampler.SamplerCustomAdvanced.execute(draw, guider, sampler, sigmas, latent).result
        assert torch.equal(out[0]["samples"][:1], picture())
        torch.testing.assert_close(out[1]["samples"][:1], picture())  # the denoised output


def test_a_later_node_takes_an_earlier_ones_place(model, caplog: pytest.LogCaptureFixture):
    first, _ = with_reference(model, picture(12))
    with caplog.at_level("INFO"):
        second, latent = with_reference(first)
    assert "later node's is used" in caplog.text
    assert torch.equal(ksampler(second, latent)[:1], picture())
