"""A sampler that changes the size in mid-run, and latents with a dimension of one frame."""

from __future__ import annotations

import comfy.latent_formats
import comfy.sample
import comfy_extras.nodes_advanced_samplers as advanced_samplers
import comfy_extras.nodes_custom_sampler as custom_sampler
import pytest
import torch
from comfy.utils import common_upscale
from given_reference import picture, seen_by_the_model, with_reference
from sampling import shared
from style_aligned.nodes.invert import StyleAlignedInvert
from style_aligned.shared_attention.fixed_noise import fixed_noise
from style_aligned.shared_attention.host.reference_latent import one_image
from style_aligned.shared_attention.host.row.run import start_run
from tiny_models import conditioning
from torch import Tensor


def enlarged_in_mid_run(patched, latent: dict, ratio: float = 2.0, method: str = "bislerp") -> Tensor:
    sampler = advanced_samplers.SamplerLCMUpscale.execute(ratio, -1, method).result[0]
    sigmas = custom_sampler.BasicScheduler.execute(patched, "normal", 4, 1.0).result[0]
    rows = conditioning(3), conditioning(1, seed=2)
    sampled = custom_sampler.SamplerCustom.execute(patched, True, 3, 4.0, *rows, sampler, sigmas, latent)
    return sampled.result[0]["samples"]


@pytest.mark.parametrize(("ratio", "size"), [(2.0, 16), (1.5, 12), (0.5, 4)])
def test_a_sampler_that_changes_the_size(model, ratio: float, size: int):
    patched, latent = with_reference(shared(model))
    calls = seen_by_the_model(patched)
    samples = enlarged_in_mid_run(patched, latent, ratio)
    assert samples.shape == (3, 4, size, size)
    clean = model.model.process_latent_in(picture())
    assert len({seen.shape for _, seen in calls}) > 1
    for sigma, seen in calls:
        height, width = seen.shape[-2:]
        row = clean if (height, width) == (8, 8) else common_upscale(clean, width, height, "bislerp", "disabled")
        torch.testing.assert_close(seen, row + sigma * fixed_noise(picture(), (height, width)), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(samples[:1], common_upscale(picture(), size, size, "bislerp", "disabled"))


def test_targets_are_what_they_are_without_the_reference_row(model):
    torch.manual_seed(0)
    patched, latent = with_reference(model)
    together = enlarged_in_mid_run(patched, latent)
    torch.manual_seed(0)
    alone = enlarged_in_mid_run(model, latent)
    torch.testing.assert_close(together[1:], alone[1:], rtol=1e-4, atol=1e-3)


def test_a_trajectory_has_one_size(model):
    inverted = StyleAlignedInvert.execute(model, conditioning(), {"samples": picture()}, 4, 2.0, None).result[0]
    patched, latent = with_reference(model, trajectory=inverted)
    with pytest.raises(ValueError, match=r"from 8 x 8 to \d+ x \d+ in latent pixels.*Disconnect trajectory"):
        enlarged_in_mid_run(patched, latent)


class WithFrames:
    """A model whose latents have frames, as Qwen-Image's and Wan's have."""

    load_device = torch.device("cpu")

    def __init__(self, sampling) -> None:
        self.objects = {"latent_format": comfy.latent_formats.Wan21(), "model_sampling": sampling}

    def get_model_object(self, name: str):
        return self.objects[name]


def test_one_frame_is_an_image(model):
    framed = WithFrames(model.get_model_object("model_sampling"))
    samples = torch.randn(1, 16, 1, 6, 8)
    assert torch.equal(one_image(framed, {"samples": samples}), samples)
    assert torch.equal(one_image(framed, {"samples": samples[:, :, 0]}), samples)  # as the host's samplers take it
    with pytest.raises(ValueError, match="it has frames"):
        one_image(framed, {"samples": torch.randn(1, 16, 2, 6, 8)})


def test_one_frame_at_a_noise_level(model):
    framed = WithFrames(model.get_model_object("model_sampling"))
    samples = torch.randn(1, 16, 1, 6, 8)
    run = start_run(framed, samples, 3, None, 0)
    clean = framed.objects["latent_format"].process_in(samples)
    torch.testing.assert_close(run.at(2.5, (6, 8)), clean + 2.5 * fixed_noise(samples))
    larger = common_upscale(clean, 16, 12, "bislerp", "disabled")
    torch.testing.assert_close(run.at(2.5, (12, 16)), larger + 2.5 * fixed_noise(samples, (12, 16)))
    out = run.leave(torch.zeros(3, 16, 1, 6, 8), 0.0)
    assert torch.equal(out[:1], samples)
