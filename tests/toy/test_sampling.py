"""The noise processes of the small icon models, and their own sampler."""

import pytest
import torch

from toy import sampling


def test_noise_levels_are_the_hosts(comfyui_path):
    from comfy.model_sampling import ModelSamplingDiscrete, ModelSamplingDiscreteFlow

    from toy.sampling import diffusion, rectified_flow

    process = diffusion()
    torch.testing.assert_close(ModelSamplingDiscrete().sigmas, process.noise_level / process.signal, rtol=1e-4, atol=0)
    flow = ModelSamplingDiscreteFlow()
    flow.set_parameters(shift=1.0, multiplier=1.0)
    torch.testing.assert_close(flow.sigmas, rectified_flow().noise_level)


@pytest.mark.parametrize("make", ["diffusion", "rectified_flow"])
def test_a_process_is_undone_by_its_velocity(make):
    process = getattr(sampling, make)()
    clean, noise = torch.randn(2, 4, 3, 8, 8, generator=torch.Generator().manual_seed(0)).unbind()
    timesteps = torch.tensor([0, 10, 500, 999])
    noised, velocity = (each(clean, noise, timesteps) for each in (process.noised, process.velocity))
    for found, expected in zip(process.parts(noised, velocity, timesteps), (clean, noise), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(process.noise_in(noised, clean, timesteps), noise, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("make", ["diffusion", "rectified_flow"])
def test_the_sampler_finds_the_data_of_a_perfect_model(make):
    """Where all data are one picture, what a perfect model predicts is known, with any caption."""
    process = getattr(sampling, make)()
    picture = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    def predict(noised, timesteps, _tokens):
        return process.velocity(picture, process.noise_in(noised, picture, timesteps), timesteps)

    tokens = torch.zeros(2, 1)
    found = sampling.sample(predict, process, torch.randn(2, 3, 8, 8), tokens, tokens, steps=10)
    torch.testing.assert_close(found, picture.expand(2, -1, -1, -1), rtol=1e-3, atol=1e-3)
