"""StyleAlignedInvert in the host's sampling: against the float64 oracle, and beside other nodes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import comfy.latent_formats
import comfy.model_patcher
import comfy.model_sampling
import comfy.samplers
import comfy.utils
import latent_preview
import pytest
import torch
from inversion_oracles import alphas_of, ddim_inversion, flow_inversion, noise_from_v, scaled_linear_alphas
from inverting import (
    CFG,
    LATENT,
    NEGATIVE,
    POSITIVE,
    SCALE,
    STEPS,
    TIMESTEPS,
    Predict,
    inverted,
    patched_sampling,
)
from oracles import relative_error
from sampling import noise, sample, shared
from style_aligned.nodes.reference import StyleAlignedReference
from style_aligned.nodes.reference_latent import StyleAlignedReferenceLatent
from style_aligned.shared_attention.trajectory import LatentSpace, Trajectory
from tiny_models import conditioning, randomise, tiny_model, tiny_sd3
from torch import Tensor


def guided_network(seed: int = 0) -> Predict:
    """(z, timestep) -> the guided output of SD 1.5's tiny UNet in float64, called without the host's sampling."""
    unet = tiny_model("sd15", seed, dtype=torch.float64).model.diffusion_model

    def predict(z: Tensor, timestep: float) -> Tensor:
        told = torch.tensor([timestep], dtype=torch.float64)
        cond, uncond = (unet(z, timesteps=told, context=entry[0][0].double()) for entry in (POSITIVE, NEGATIVE))
        return uncond + CFG * (cond - uncond)

    return predict


def assert_follows(trajectory: Trajectory, sigmas: list[float], expected: list[Tensor]) -> None:
    torch.testing.assert_close(trajectory.sigmas.double(), torch.tensor(sigmas).double(), rtol=1e-4, atol=1e-6)
    errors = [relative_error(*pair) for pair in zip(trajectory.latents, torch.cat(expected), strict=True)]
    assert max(errors) < 2e-4, errors


def test_noise_prediction():
    predict, clean = guided_network(), LATENT["samples"] * SCALE
    alphas = [1.0, *scaled_linear_alphas()[TIMESTEPS].tolist()]
    expected = ddim_inversion(lambda z, level: predict(z, TIMESTEPS[level - 1]), clean, alphas)
    assert_follows(inverted(tiny_model("sd15")), [math.sqrt(1 / a - 1) for a in alphas], expected)


def test_v_prediction():
    predict, clean = guided_network(), LATENT["samples"] * SCALE
    alphas = [1.0, *scaled_linear_alphas()[TIMESTEPS].tolist()]
    expected = ddim_inversion(
        lambda z, level: noise_from_v(z, predict(z, TIMESTEPS[level - 1]), alphas[level]), clean, alphas
    )
    model = patched_sampling(tiny_model("sd15"), "ModelSamplingDiscrete", "v_prediction", False)
    assert_follows(inverted(model), [math.sqrt(1 / a - 1) for a in alphas], expected)


@pytest.mark.parametrize("sampling", ["edm", "edm_playground_v2.5"])
def test_edm(sampling: str):
    """The host's EDM models have data of scale 0.5; Playground's latents are shifted besides."""
    model, data = patched_sampling(tiny_model("sd15"), "ModelSamplingContinuousEDM", sampling, 80.0, 0.02), 0.5
    predict, clean = guided_network(), model.get_model_object("latent_format").process_in(LATENT["samples"])
    times = torch.linspace(0.25 * math.log(0.02), 0.25 * math.log(80.0), STEPS, dtype=torch.float64).tolist()
    sigmas = [0.0, *(math.exp(4 * time) for time in times)]
    alphas = alphas_of(sigmas, data)
    expected = ddim_inversion(
        lambda z, level: noise_from_v(z, -predict(z, times[level - 1]), alphas[level]), clean / data, alphas
    )
    assert_follows(inverted(model), sigmas, [data * latent for latent in expected])


def test_flow():
    predict, clean, shift = guided_network(), LATENT["samples"] * SCALE, 3.0
    model = patched_sampling(tiny_model("sd15"), "ModelSamplingSD3", shift)
    lowest = shift * 0.001 / (1 + (shift - 1) * 0.001)
    times = torch.linspace(lowest, 1.0, STEPS, dtype=torch.float64)
    sigmas = [0.0, *(shift * times / (1 + (shift - 1) * times)).tolist()]
    expected = flow_inversion(lambda x, level: predict(x, 1000 * sigmas[level]), clean, sigmas)
    trajectory = inverted(model)
    assert_follows(trajectory, sigmas, expected)
    assert trajectory.space is LatentSpace.FLOW


@pytest.mark.parametrize("family", ["sd15", "sd2", "sdxl", "sdxl_refiner", "sd15_inpainting"])
def test_every_family_from_the_clean_latent_to_where_samplers_start(family: str):
    model = tiny_model(family)
    trajectory = inverted(model, steps=7)
    assert trajectory.latents.device.type == trajectory.sigmas.device.type == "cpu"
    assert trajectory.latents.dtype == torch.float32
    assert torch.equal(trajectory.clean, model.model.process_latent_in(LATENT["samples"]))
    host = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", 7)
    assert torch.equal(trajectory.sigmas.flip(0), host)
    assert trajectory.space is LatentSpace.VARIANCE_EXPLODING
    assert trajectory.model == type(model.model.model_config).__name__
    assert trajectory.latent_format == type(model.model.latent_format).__name__


def test_a_transformer_of_the_flow_kind():
    model = tiny_sd3()
    randomise(model.model, 3)
    model.model.diffusion_model.pos_embed.zero_()  # a buffer, which is left as it was in memory
    generator = torch.Generator().manual_seed(1)
    entry = [[torch.randn(1, 8, 32, generator=generator), {"pooled_output": torch.randn(1, 64, generator=generator)}]]
    trajectory = inverted(model, {"samples": noise(1, channels=16)}, positive=entry, negative=None)
    assert trajectory.space is LatentSpace.FLOW
    assert trajectory.sigmas[-1] == 1
    assert trajectory.latents.isfinite().all()


def test_one_step_reaches_the_highest_level():
    trajectory = inverted(tiny_model("sd15"), steps=1)
    assert len(trajectory.latents) == 2
    assert float(trajectory.sigmas[-1]) == pytest.approx(14.61, abs=0.01)


def test_sizes_that_are_not_square():
    latent = {"samples": noise(1, height=12, width=6)}
    assert inverted(tiny_model("sd15"), latent).latents.shape == (STEPS + 1, 4, 12, 6)


def test_guidance_away_from_zeros_without_a_negative():
    import nodes

    model, (zeros,) = tiny_model("sdxl"), nodes.ConditioningZeroOut().zero_out(POSITIVE)
    trajectory = inverted(model, negative=None)
    assert torch.equal(trajectory.latents, inverted(model, negative=zeros).latents)
    assert not torch.allclose(trajectory.latents, inverted(model).latents)


def test_the_negative_is_unused_at_cfg_1():
    model = tiny_model("sd15")
    assert torch.equal(inverted(model, cfg=1.0).latents, inverted(model, cfg=1.0, negative=None).latents)
    assert not torch.allclose(inverted(model, cfg=1.0).latents, inverted(model).latents)


def test_the_first_of_several_prompts_describes_the_picture():
    """The conditioning of a whole set from StyleAlignedPrompts will do."""
    model, of_set = tiny_model("sd15"), conditioning(3, seed=1)
    first = [[of_set[0][0][:1], {"pooled_output": of_set[0][1]["pooled_output"][:1]}]]
    assert torch.equal(inverted(model, positive=of_set).latents, inverted(model, positive=first).latents)


def test_separate_calls(split_calls):
    predict, clean = guided_network(), LATENT["samples"] * SCALE
    alphas = [1.0, *scaled_linear_alphas()[TIMESTEPS].tolist()]
    expected = ddim_inversion(lambda z, level: predict(z, TIMESTEPS[level - 1]), clean, alphas)
    assert_follows(inverted(tiny_model("sd15")), [math.sqrt(1 / a - 1) for a in alphas], expected)


def test_the_packs_other_nodes_change_nothing():
    model = tiny_model("sd15")
    plain = inverted(model).latents
    other = {"samples": noise(1, seed=99)}
    held = StyleAlignedReferenceLatent.execute(shared(model), other, 2, "noise").result[0]
    apart = StyleAlignedReference.execute(shared(model), other).result[0]
    assert torch.equal(inverted(apart).latents, plain)
    wrappers = str(held.wrappers)
    assert torch.equal(inverted(shared(model, share_group_norm=True)).latents, plain)
    assert torch.equal(inverted(held).latents, plain)
    assert str(held.wrappers) == wrappers, "the reference is still attached for the sampler"


def test_a_mask_in_the_latent_changes_nothing():
    masked = {**LATENT, "noise_mask": torch.zeros(1, 8, 8)}
    model = tiny_model("sd15")
    assert torch.equal(inverted(model, masked).latents, inverted(model).latents)


def test_model_patches_act():
    """Weight patches, such as a LoRA's, and other nodes' functions."""
    model = tiny_model("sd15")
    plain = inverted(model).latents
    lora = model.clone()
    name = "diffusion_model.out.2.weight"
    lora.add_patches({name: (torch.ones_like(model.model.diffusion_model.out[2].weight),)}, 0.1)
    post_cfg = model.clone()
    post_cfg.set_model_sampler_post_cfg_function(lambda arguments: arguments["denoised"] * 0.5)
    for patched in (lora, post_cfg):
        assert relative_error(inverted(patched).latents, plain) > 1e-2
    assert torch.equal(inverted(model).latents, plain), "and go with their model"


def test_conditioning_of_a_part_of_sampling_acts_there():
    """A range given by Set Timestep Range, by which ControlNets are limited too, is one of noise levels."""
    model = tiny_model("sd15")
    late = inverted(model, positive=[*POSITIVE, *conditioning(seed=8, start_percent=0.5, end_percent=1.0)])
    plain = inverted(model)
    changed = [not torch.equal(*pair) for pair in zip(late.latents, plain.latents, strict=True)]
    assert changed[:2] == [False, True]
    top_steps = [x.latents[-1] - x.latents[-2] for x in (late, plain)]
    alone = inverted(model, positive=conditioning(seed=8))
    assert relative_error(top_steps[0], top_steps[1]) < relative_error(alone.latents[-1], plain.latents[-1])


def with_preview(patch: pytest.MonkeyPatch, preview: Callable[[int, Tensor, Tensor, int], None]) -> None:
    """Put `preview` in the place of the host's preview and progress bar."""
    patch.setattr(latent_preview, "prepare_callback", lambda model, steps: preview)


def test_progress_and_previews(monkeypatch: pytest.MonkeyPatch):
    reports: list[tuple[int, int]] = []
    shown: list[Tensor] = []

    def preview(step: int, denoised: Tensor, latent: Tensor, steps: int) -> None:
        reports.append((step, steps))
        shown.append(denoised)

    model = tiny_model("sd15")
    model.set_model_sampler_post_cfg_function(lambda arguments: torch.full_like(arguments["denoised"], 0.25))
    with_preview(monkeypatch, preview)
    inverted(model, steps=5)
    assert reports == [(number, 5) for number in range(5)]
    assert all(bool((picture == 0.25).all()) for picture in shown), "the clean latent that the model sees"


def test_the_hosts_own_preview(monkeypatch: pytest.MonkeyPatch):
    """With previews on, a picture goes to the host's progress bar."""
    sent: list[Any] = []
    monkeypatch.setattr(latent_preview.args, "preview_method", latent_preview.LatentPreviewMethod.Latent2RGB)
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", lambda value, total, preview, **_: sent.append(preview))
    inverted(tiny_model("sd15"))
    assert sent
    assert sent[-1][1].size == (8, 8)


def test_a_run_that_raises_leaves_the_model_clean(monkeypatch: pytest.MonkeyPatch):
    model = tiny_model("sd15")
    plain, before = inverted(model).latents, sample(model)

    def interrupt(step: int, *_: Any) -> None:
        if step == 2:
            raise InterruptedError

    with monkeypatch.context() as patch:
        with_preview(patch, interrupt)
        with pytest.raises(InterruptedError):
            inverted(model)
    assert not any(functions for kinds in model.wrappers.values() for functions in kinds.values())
    assert torch.equal(inverted(model).latents, plain)
    assert torch.equal(sample(model), before)
