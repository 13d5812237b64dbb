"""Inversion by the node, as the tests of Invert ask for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.latent_formats
import comfy.model_patcher
import comfy.model_sampling
import comfy.samplers
import comfy.utils
from sampling import noise
from style_aligned.nodes.invert import StyleAlignedInvert
from style_aligned.shared_attention.trajectory import Trajectory
from tiny_models import conditioning
from torch import Tensor

Model = comfy.model_patcher.ModelPatcher
Predict = Callable[[Tensor, float], Tensor]

STEPS = 4  # of 1000 timesteps: 0, 333, 666 and 999, none between two entries of the model's table
TIMESTEPS = [0, 333, 666, 999]
CFG = 2.0
LATENT = {"samples": noise(1, seed=5)}
POSITIVE, NEGATIVE = conditioning(seed=1), conditioning(seed=2)
SCALE = comfy.latent_formats.SD15().scale_factor


def inverted(model: Model, latent: dict[str, Any] = LATENT, **inputs: Any) -> Trajectory:
    """The output of the node."""
    inputs = {"positive": POSITIVE, "negative": NEGATIVE, "steps": STEPS, "cfg": CFG, **inputs}
    return StyleAlignedInvert.execute(model, latent=latent, **inputs).result[0]


def patched_sampling(model: Model, node: str, *settings: Any) -> Model:
    """The output of one of the host's ModelSampling nodes."""
    from comfy_extras import nodes_model_advanced

    return getattr(nodes_model_advanced, node)().patch(model, *settings)[0]
