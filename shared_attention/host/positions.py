"""The settings of positions on a model, for shared attention to read at each call."""

from __future__ import annotations

from typing import Any

from comfy.patcher_extension import WrappersMP

from ..positions import KEY, ReferencePositions
from .families import find
from .families.noting import uncompiled_module
from .families.transformer import Transformer
from .wrappers import attach, says_if_unread


def set_positions(model: Any, positions: ReferencePositions) -> Any:
    """A clone of the host's `model` with `positions` in its options; they take the place of those set before.

    Raises ValueError where the model has no rotary positions, or cannot share attention at all.
    """
    if not has_positions(model):
        raise ValueError(
            f"Positions does nothing for this model ({find(model.get_model_object('diffusion_model')).name}): it does "
            "not rotate keys by positions. Connect the model to Share Attention without this node, which is for Flux, "
            "Qwen-Image, Z-Image and others that do."
        )
    clone = attach(model, KEY, {WrappersMP.OUTER_SAMPLE: says_if_unread("Positions")}, "positions of the reference")
    # An object of a class: the host copies the dicts of its options at every call.
    clone.model_options["transformer_options"][KEY] = positions
    return clone


def has_positions(model: Any) -> bool:
    """Whether the host's `model` rotates keys by positions; ValueError where it cannot share attention at all."""
    unet = model.get_model_object("diffusion_model")
    family = find(unet)
    return isinstance(family, Transformer) and family.pair_axes(uncompiled_module(unet)) is not None
