"""The host's UNet inverted by the pack and diffusers' UNet by diffusers' scheduler, with equal weights."""

from __future__ import annotations

import comfy.sample
import comfy.utils
import pytest
import torch
from inversion_oracles import scaled_linear_alphas
from oracles import relative_error
from style_aligned.shared_attention.host.inversion import Inversion
from style_aligned.shared_attention.trajectory import LatentSpace
from tiny_models import CONTEXT, conditioning, tiny_model
from torch import Tensor

CLEAN = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(11))


@pytest.fixture(scope="module")
def diffusers():
    return pytest.importorskip("diffusers", reason="diffusers is not installed; the set-up of dev.py has it")


def with_the_weights_of(model, diffusers):
    """diffusers' UNet2DConditionModel with the structure and the weights of the tiny SD 1.5."""
    unet = diffusers.UNet2DConditionModel(
        in_channels=4, out_channels=4, block_out_channels=(32, 64), layers_per_block=1, attention_head_dim=8,
        cross_attention_dim=CONTEXT, norm_num_groups=32,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    )  # fmt: skip
    names = comfy.utils.unet_to_diffusers(model.model.model_config.unet_config)
    weights = model.model.diffusion_model.state_dict()
    ours = {theirs: weights[host] for theirs, host in names.items() if host in weights}
    unet.load_state_dict({name: ours[name] for name in unet.state_dict()})
    return unet.eval()


@pytest.mark.parametrize("steps", [10, 25])
def test_equal_weights_give_equal_trajectories(diffusers, steps: int):
    model, context = tiny_model("sd15"), conditioning()
    unet = with_the_weights_of(model, diffusers)
    scheduler = diffusers.DDIMInverseScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=True,
        timestep_spacing="leading", steps_offset=1,
    )  # fmt: skip
    scheduler.set_timesteps(steps)
    alphas = scaled_linear_alphas()[scheduler.timesteps]
    sigmas = torch.cat([torch.zeros(1), ((1 - alphas) / alphas).sqrt().float()])
    expected, z = [], CLEAN
    for timestep, sigma in zip(scheduler.timesteps, sigmas[1:], strict=True):
        noise: Tensor = unet(z, timestep, context[0][0]).sample
        z = scheduler.step(noise, int(timestep), z).prev_sample
        expected.append(z * (sigma**2 + 1).sqrt())
    actual = inverted_by_the_host(model, sigmas, context)
    assert relative_error(actual[1:], torch.cat(expected)) < 1e-4


def inverted_by_the_host(model, sigmas: Tensor, context: list) -> Tensor:
    """The latents of the given levels, (levels, channels, height, width), without guidance."""
    sampler = Inversion(LatentSpace.VARIANCE_EXPLODING)
    latent = model.get_model_object("latent_format").process_out(CLEAN)
    comfy.sample.sample_custom(
        model, torch.zeros_like(latent), 1.0, sampler, sigmas, context, context, latent, disable_pbar=True, seed=0
    )
    return torch.cat(sampler.latents)
