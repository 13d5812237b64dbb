"""What Invert refuses, in the user's words, and the caches that it leaves out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import comfy.latent_formats
import comfy.model_patcher
import comfy.model_sampling
import comfy.samplers
import comfy.utils
import pytest
import torch
from inverting import Model, inverted
from sampling import noise
from tiny_models import tiny_model, tiny_svd


def with_latent_format(latent_format: Any) -> Model:
    model = tiny_model("sd15")
    model.add_object_patch("latent_format", latent_format)
    return model


def with_sampling(kind: type) -> Model:
    class Sampling(comfy.model_sampling.ModelSamplingDiscrete, kind):
        pass

    model = tiny_model("sd15")
    model.add_object_patch("model_sampling", Sampling())
    return model


class Nested:
    is_nested = True


@pytest.mark.parametrize(
    ("latent", "message"),
    [
        (noise(3), "has 3 images; give one"),
        (torch.zeros(1, 4, 8, 8), "is empty"),
        (noise(1, channels=16), "16 latent channels, this model has 4"),
        (torch.randn(1, 4, 5, 8, 8), "frames"),
        (Nested(), "several parts"),
    ],
    ids=["several", "zero", "channels", "video", "nested"],
)
def test_what_is_no_single_image_is_refused(latent: Any, message: str):
    with pytest.raises(ValueError, match=message):
        inverted(tiny_model("sd15"), {"samples": latent})


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (tiny_svd, "SVD_img2vid"),
        (lambda: with_latent_format(comfy.latent_formats.Wan21()), "BaseModel"),
        (lambda: with_sampling(comfy.model_sampling.IMG_TO_IMG), "BaseModel"),
        (lambda: with_sampling(comfy.model_sampling.V_PREDICTION_DDPM), "BaseModel"),
    ],
    ids=["video UNet", "video latents", "image to image", "CogVideoX"],
)
def test_models_that_cannot_be_inverted_are_refused_by_name(build: Callable[[], Model], name: str):
    with pytest.raises(ValueError, match=rf"cannot invert an image with this model \({name}\)"):
        inverted(build())


@pytest.mark.parametrize("node", ["EasyCacheNode", "LazyCacheNode"])
def test_the_hosts_caches_skip_no_step(node: str):
    """They expect noise levels to fall."""
    from comfy_extras import nodes_easycache

    model = tiny_model("sd15")
    cached = getattr(nodes_easycache, node).execute(model, 3.0, 0.1, 0.95, False).result[0]
    assert torch.equal(inverted(cached, steps=8).latents, inverted(model, steps=8).latents)


def test_no_steps():
    with pytest.raises(ValueError, match="steps is 0; give a number from 1"):
        inverted(tiny_model("sd15"), steps=0)


def test_values_that_are_no_numbers_are_refused():
    model = tiny_model("sd15")
    model.set_model_sampler_post_cfg_function(lambda arguments: arguments["denoised"] * math.nan)
    with pytest.raises(ValueError, match="no numbers"):
        inverted(model)
