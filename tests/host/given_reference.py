"""A given picture as the reference, sampled as the host does: what the tests of Reference Latent share."""

from __future__ import annotations

from typing import Any

import comfy.model_sampling
import comfy.sample
import comfy.samplers
import comfy_extras.nodes_model_advanced as model_advanced
import torch
from style_aligned.nodes.reference_latent import StyleAlignedReferenceLatent
from tiny_models import conditioning, tiny_model
from torch import Tensor

from nodes import common_ksampler  # the host's

TARGETS = 2


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


def seen_by_the_model(patched) -> list[tuple[float, Tensor]]:
    """Fills up with (sigma, row 0 of the latent) of each model call."""
    calls: list[tuple[float, Tensor]] = []

    def wrapper(apply_model, arguments):
        calls.append((float(arguments["timestep"][0]), arguments["input"][:1].clone()))
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    patched.set_model_unet_function_wrapper(wrapper)
    return calls


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
