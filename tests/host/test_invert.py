"""StyleAlignedInvert in the host's sampling: against the float64 oracle."""

from __future__ import annotations

import math

import comfy.samplers
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
from sampling import noise
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
