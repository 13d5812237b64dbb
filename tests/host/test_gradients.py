"""Samplers that differentiate the model: gradients pass through sharing and are those of the equations."""

from __future__ import annotations

import comfy.sample
import comfy.samplers
import pytest
import torch
from oracle_model import OracleModel
from oracles import relative_error
from sampling import noise, shared
from style_aligned.nodes.reference import StyleAlignedReference
from tiny_models import conditioning, tiny_model
from torch import Tensor


def gradient(model) -> Tensor:
    """Of a sum over the targets' denoised latents by the batch's latents, asked for by a sampler."""
    found = []

    def differentiate(denoise, x, sigmas, extra_args=None, callback=None, disable=None):
        with torch.enable_grad():
            latents = x.detach().clone().requires_grad_()
            denoised = denoise(latents, sigmas[:1].expand(len(x)), **(extra_args or {}))
            denoised[1:].sin().sum().backward()
        found.append(latents.grad)
        return x

    with torch.inference_mode(False), torch.no_grad():
        initial = noise(3)
        comfy.sample.sample_custom(
            model, initial, 3.0, comfy.samplers.KSAMPLER(differentiate), torch.tensor([1.5, 0.0]),
            conditioning(3), conditioning(1, seed=2), torch.zeros_like(initial), disable_pbar=True, seed=3,
        )  # fmt: skip
    return found[0]


@pytest.mark.parametrize(
    "options", [{}, {"shift": 0.7, "strength": 0.5}, {"share_group_norm": True, "adain_values": True}], ids=str
)
def test_gradients_are_those_of_the_equations(options: dict):
    with torch.inference_mode(False):
        model = tiny_model("sd15")
        equations = {name: value for name, value in options.items() if name != "share_group_norm"}
        oracle = OracleModel("sd15", equations, options.get("share_group_norm", False)).patcher
    assert relative_error(gradient(shared(model, **options)), gradient(oracle)) < 1e-4


def test_targets_depend_on_the_reference():
    with torch.inference_mode(False):
        model = tiny_model("sd15")
    assert gradient(model)[0].norm() == 0
    assert gradient(shared(model))[0].norm() > 1e-3


def test_a_reference_apart_is_not_differentiated():
    """What is kept of it does not depend on the batch, so that no graph is held for it."""
    with torch.inference_mode(False):
        model, picture = tiny_model("sd15"), {"samples": noise(1, seed=31)}
        text = conditioning(1, seed=21)
    apart = StyleAlignedReference.execute(shared(model, share_group_norm=True), picture, conditioning=text).result[0]
    found = gradient(apart)
    assert found[0].norm() == 0  # of the targets' denoised, by an image that is no reference
    assert relative_error(found[1:], gradient(model)[1:]) > 1e-3
