"""A given latent in row 0, with every sampler of the host."""

from __future__ import annotations

import inspect
from typing import Any

import comfy.model_sampling
import comfy.sample
import comfy.samplers
import comfy_extras.nodes_custom_sampler as custom_sampler
import comfy_extras.nodes_model_advanced as model_advanced
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from oracles import relative_error
from sampling import noise, sample, shared
from style_aligned.nodes.reference_latent import StyleAlignedReferenceLatent
from style_aligned.shared_attention.host.reference_row import _current_run
from tiny_models import conditioning, smooth_model, tiny_model
from torch import Tensor

from nodes import common_ksampler  # the host's

TARGETS = 2


@pytest.fixture(scope="module")
def model():
    return smooth_model()


def picture(seed: int = 11, height: int = 8, width: int = 8) -> Tensor:
    return 5 * torch.randn(1, 4, height, width, generator=torch.Generator().manual_seed(seed))


def with_reference(model, latent: Tensor | None = None, **inputs: Any):
    """The node's outputs: the model, and the LATENT to sample."""
    values = {"targets": TARGETS, "start_from": "noise", **inputs}
    reference = {"samples": picture() if latent is None else latent, **values.pop("reference", {})}
    return StyleAlignedReferenceLatent.execute(model, reference, **values).result


def ksampler(model, latent: dict, **options: Any) -> Tensor:
    """The host's own KSampler node."""
    rows = len(latent["samples"])
    values = {
        "seed": 3, "steps": 4, "cfg": 4.0, "sampler_name": "euler", "scheduler": "normal",
        "positive": conditioning(rows), "negative": conditioning(1, seed=2), **options,
    }  # fmt: skip
    return common_ksampler(model, latent=latent, **values)[0]["samples"]


@pytest.mark.parametrize("settings", [{"cfg": 7.0}, {"cfg": 1.0, "denoise": 0.5}], ids=str)
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


def test_a_cache_that_answers_for_the_model_leaves_the_reference_as_it_is(model):
    """In what callbacks see too, of which the host makes previews and the sampler's denoised output."""

    def cache(_predict_noise, x: Tensor, *_: Any) -> Tensor:
        return x + 1

    cached = model.clone()
    cached.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "cache", cache)
    patched, _ = with_reference(cached)
    shown: list[Tensor] = []
    samples = sample(patched, callback=lambda step, denoised, x, steps: shown.append(denoised[:1]))
    assert torch.equal(samples[:1], picture())
    assert len(shown) == 3
    for denoised in shown:
        torch.testing.assert_close(denoised, model.model.process_latent_in(picture()))


def seen_by_the_model(patched) -> list[tuple[float, Tensor]]:
    """Fills up with (sigma, row 0 of the latent) of each model call."""
    calls: list[tuple[float, Tensor]] = []

    def wrapper(apply_model, arguments):
        calls.append((float(arguments["timestep"][0]), arguments["input"][:1].clone()))
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    patched.set_model_unet_function_wrapper(wrapper)
    return calls


def fixed_noise() -> Tensor:
    """What the host draws for the reference: index TARGETS of the seed, after the targets' own."""
    return comfy.sample.prepare_noise(torch.zeros(1 + TARGETS, 4, 8, 8), 3, [TARGETS, *range(TARGETS)])[:1]


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
        torch.testing.assert_close(seen, clean + sigma * fixed_noise(), rtol=1e-5, atol=1e-4)


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


def test_two_stages_with_leftover_noise(model):
    """KSampler Advanced: the second stage adds no noise, and the reference goes on with the first one's."""
    patched, latent = with_reference(shared(model))
    calls = seen_by_the_model(patched)
    first = ksampler(patched, latent, steps=6, last_step=3, force_full_denoise=False)
    assert torch.equal(first[:1], picture())
    second = ksampler(
        patched, {**latent, "samples": first}, steps=6, start_step=3, disable_noise=True, force_full_denoise=True
    )
    assert torch.equal(second[:1], picture())
    whole = ksampler(patched, latent, steps=6)
    torch.testing.assert_close(second, whole, rtol=1e-4, atol=1e-3)
    clean = model.model.process_latent_in(picture())
    for sigma, seen in calls:
        torch.testing.assert_close(seen, clean + sigma * fixed_noise(), rtol=1e-5, atol=1e-4)


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


@pytest.mark.parametrize("rows", [1, 3])
def test_a_noise_mask_never_masks_the_reference_away(model, rows: int):
    mask = torch.zeros(rows, 8, 8)
    mask[:, :, 4:] = 1
    patched, latent = with_reference(shared(model), start_from="reference", reference={"noise_mask": mask[:1]})
    calls = seen_by_the_model(patched)
    samples = ksampler(patched, {**latent, "noise_mask": mask})
    assert torch.equal(samples[:1], picture())
    torch.testing.assert_close(samples[1:, :, :, :4], picture()[..., :4].repeat(2, 1, 1, 1))
    assert relative_error(samples[1:, :, :, 4:], picture()[..., 4:].repeat(2, 1, 1, 1)) > 1e-2
    clean = model.model.process_latent_in(picture())
    for sigma, seen in calls:
        torch.testing.assert_close(seen, clean + sigma * fixed_noise(), rtol=1e-5, atol=1e-4)


def test_a_mask_does_not_let_another_row_0_through(model):
    """Where a mask is 0 the host puts the latent that it was given in place of what was denoised."""
    patched, latent = with_reference(model)
    other = {**latent, "samples": torch.cat([picture(12), latent["samples"][1:]])}
    shown: list[Tensor] = []
    comfy.sample.sample(
        patched, noise(3), 4, 4.0, "euler", "normal", conditioning(3), conditioning(1, seed=2), other["samples"],
        noise_mask=torch.zeros(1, 1, 8, 8), seed=3, disable_pbar=True,
        callback=lambda step, denoised, x, steps: shown.append(denoised[:1].clone()),
    )  # fmt: skip
    for denoised in shown:
        torch.testing.assert_close(denoised, model.model.process_latent_in(picture()))


def test_a_mask_of_the_reference_is_kept_for_reworking_it_only(model):
    mask = torch.ones(1, 8, 8)
    assert "noise_mask" in with_reference(model, start_from="reference", reference={"noise_mask": mask})[1]
    assert "noise_mask" not in with_reference(model, start_from="noise", reference={"noise_mask": mask})[1]


def prediction(kind: str):
    """A tiny model of another prediction type, as the host's own nodes make it."""
    model = tiny_model("sd15")
    if kind == "edm":
        return model_advanced.ModelSamplingContinuousEDM().patch(model, "edm_playground_v2.5", 80.0, 0.002)[0]
    if kind == "flow":

        class Flow(comfy.model_sampling.ModelSamplingDiscreteFlow, comfy.model_sampling.CONST): ...

        clone = model.clone()
        sampling = Flow(model.model.model_config)
        sampling.set_parameters(shift=3.0)
        clone.add_object_patch("model_sampling", sampling)
        return clone
    return model_advanced.ModelSamplingDiscrete().patch(model, kind, False)[0]


@pytest.mark.parametrize("kind", ["eps", "v_prediction", "lcm", "x0", "edm", "flow"])
@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "lcm", "euler_ancestral"])
def test_every_prediction_type(kind: str, sampler: str):
    model = prediction(kind)
    patched, latent = with_reference(shared(model))
    calls = seen_by_the_model(patched)
    assert torch.equal(ksampler(patched, latent, sampler_name=sampler)[:1], picture())
    clean = model.get_model_object("latent_format").process_in(picture())
    for sigma, seen in calls:
        expected = (1 - sigma) * clean + sigma * fixed_noise() if kind == "flow" else clean + sigma * fixed_noise()
        torch.testing.assert_close(seen, expected, rtol=1e-5, atol=1e-4)


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


class Interrupted(Exception):
    """Raised in the middle of a run."""


def test_nothing_remains(model):
    before, options = sample(model), repr(model.model_options)
    patched, latent = with_reference(shared(model))
    ksampler(patched, latent)
    failing, _ = with_reference(model)

    def fail(*_):
        raise Interrupted

    failing.set_model_unet_function_wrapper(fail)
    with pytest.raises(Interrupted):
        ksampler(failing, latent)
    assert _current_run.get() is None
    assert repr(model.model_options) == options
    assert torch.equal(sample(model), before)


def test_a_later_node_takes_an_earlier_ones_place(model, caplog: pytest.LogCaptureFixture):
    first, _ = with_reference(model, picture(12))
    with caplog.at_level("INFO"):
        second, latent = with_reference(first)
    assert "later node's is used" in caplog.text
    assert torch.equal(ksampler(second, latent)[:1], picture())


def test_another_size_than_the_references_is_refused_before_sampling(model):
    patched, _ = with_reference(model)
    with pytest.raises(ValueError, match="Connect the latent output"):
        ksampler(patched, {"samples": torch.zeros(3, 4, 8, 16)})


@pytest.mark.parametrize(
    ("latent", "message"),
    [
        (torch.ones(3, 4, 8, 8), "has 3 images; give one"),
        (torch.zeros(1, 4, 8, 8), "is empty"),
        (torch.zeros(1, 4, 0, 8), "is empty"),
        (torch.ones(1, 16, 8, 8), "16 latent channels, this model has 4"),
        (torch.ones(1, 4, 5, 8, 8), "no image's latent"),
        (torch.full((1, 4, 8, 8), float("nan")), "no numbers"),
    ],
    ids=lambda value: str(tuple(value.shape)) if isinstance(value, Tensor) else "",
)
def test_bad_references_are_refused_by_name(model, latent: Tensor, message: str):
    with pytest.raises(ValueError, match=message):
        with_reference(model, latent)


def test_a_nested_latent_is_refused(model):
    from comfy.nested_tensor import NestedTensor

    with pytest.raises(ValueError, match="no image's latent"):
        with_reference(model, NestedTensor([torch.ones(1, 4, 8, 8), torch.ones(1, 4, 8)]))


def test_an_offset_needs_a_trajectory(model):
    with pytest.raises(ValueError, match=r"offset is 5 and needs a trajectory.*set offset to 0"):
        with_reference(model, offset=5)


def test_the_wrapper_matches_the_hosts_signature():
    """Its arguments are passed on by position."""
    from style_aligned.shared_attention.host.reference_row import ReferenceRow

    host = list(inspect.signature(comfy.samplers.CFGGuider.outer_sample).parameters)[1:]
    ours = list(inspect.signature(ReferenceRow.around_run).parameters)[2:]
    assert ours[: len(host) - 1] == host[:-1]
