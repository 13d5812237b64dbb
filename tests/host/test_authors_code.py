"""The pack on the host's UNet and the authors' own code on diffusers' UNet, with equal weights, give equal latents.

    git clone https://github.com/google/style-aligned authors
    AUTHORS_CODE=authors python dev.py test tests/host/test_authors_code.py -rP

Their sa_handler.py runs as it is published. Without AUTHORS_CODE there is nothing to compare with.
"""

from __future__ import annotations

import importlib
import math
import os
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import comfy.sample
import comfy.samplers
import pytest
import torch
from diffusers_models import with_the_weights_of
from inversion_oracles import scaled_linear_alphas
from oracles import relative_error
from sampling import noise, shared
from tiny_models import conditioning, tiny_model
from torch import Tensor

CODE = os.environ.get("AUTHORS_CODE", "")
pytestmark = pytest.mark.skipif(not CODE, reason="AUTHORS_CODE names no copy of github.com/google/style-aligned")

IMAGES, CFG, TIMESTEPS = 3, 5.0, [801, 601, 401, 201, 1]
POSITIVE, NEGATIVE = conditioning(IMAGES, seed=1), conditioning(1, seed=2)
NO_NORMS = {"share_group_norm": False, "share_layer_norm": False}
GROUP_NORMS = {"share_group_norm": True, "share_layer_norm": False}
SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "text to image": (NO_NORMS, {}),
    "style of a picture": (
        {**GROUP_NORMS, "shared_score_shift": math.log(2)},
        {"share_group_norm": True, "shift": math.log(2)},
    ),
    "famous pictures": ({**GROUP_NORMS, "shared_score_scale": 0.5}, {"share_group_norm": True, "scale": 0.5}),
    "values too": ({**NO_NORMS, "adain_values": True}, {"adain_values": True}),
    "without AdaIN": (
        {**NO_NORMS, "adain_queries": False, "adain_keys": False},
        {"adain_queries": False, "adain_keys": False},
    ),
    "layer norms": ({"share_group_norm": False, "share_layer_norm": True}, {}),
}
"""The authors' arguments, and the pack's for the same."""


@pytest.fixture(scope="module")
def authors() -> ModuleType:
    pytest.importorskip("diffusers", reason="diffusers is not installed; the set-up of dev.py has it")
    with pytest.MonkeyPatch.context() as path:
        path.syspath_prepend(str(Path(CODE).resolve()))
        return importlib.import_module("sa_handler")


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_latents_are_the_authors(authors: ModuleType, family: str, name: str):
    theirs, ours = SETTINGS[name]
    model = tiny_model(family)
    plain = sampled_by_authors(authors, family, model, None)
    expected = sampled_by_authors(authors, family, model, authors.StyleAlignedArgs(**theirs))
    error, effect = relative_error(sampled(shared(model, **ours)), expected), relative_error(plain, expected)
    print(f"{family}, {name}: {error:.1e} apart, where sharing changes {effect:.0%}")
    assert relative_error(sampled(model), plain) < 1e-5
    assert error < 1e-5
    assert effect > 1e-2


def sigmas() -> Tensor:
    alphas = scaled_linear_alphas()[TIMESTEPS]
    return torch.cat([((1 - alphas) / alphas).sqrt(), torch.zeros(1)]).float()


def sampled(model: Any) -> Tensor:
    """By the host, Euler's method over `sigmas`."""
    initial = noise(IMAGES)
    latents: Tensor = comfy.sample.sample_custom(
        model, initial, CFG, comfy.samplers.sampler_object("euler"), sigmas(), POSITIVE, NEGATIVE,
        torch.zeros_like(initial), disable_pbar=True, seed=0,
    )  # fmt: skip
    return model.get_model_object("latent_format").process_in(latents)


def sampled_by_authors(authors: ModuleType, family: str, model: Any, arguments: Any) -> Tensor:
    """By diffusers' UNet with their handler, unconditional rows first as their pipelines have them."""
    unet = with_the_weights_of(model, pytest.importorskip("diffusers"), family)
    if arguments is not None:
        authors.Handler(SimpleNamespace(unet=unet)).register(arguments)
    [[texts, options]], [[empty, no_options]] = POSITIVE, NEGATIVE
    context = torch.cat([empty.expand_as(texts), texts])
    pooled = [no_options["pooled_output"].expand(IMAGES, -1), options["pooled_output"]]
    height, width = (8 * size for size in noise(1).shape[-2:])
    time_ids = torch.tensor([[height, width, 0, 0, height, width]]).expand(2 * IMAGES, -1)
    added = {"text_embeds": torch.cat(pooled), "time_ids": time_ids} if family == "sdxl" else None
    levels = sigmas()
    x = noise(IMAGES) * levels[0]
    for timestep, sigma, following in zip(TIMESTEPS, levels, levels[1:], strict=False):
        z = x / (sigma**2 + 1).sqrt()
        predicted = unet(torch.cat([z, z]), timestep, context, added_cond_kwargs=added).sample
        unconditional, conditional = predicted.chunk(2)
        x = x + (following - sigma) * torch.lerp(unconditional, conditional, CFG)
    return x
