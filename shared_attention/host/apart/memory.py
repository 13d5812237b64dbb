"""What references apart take of the memory: told to the host before it loads a model, to the user where it cannot be.

The host looks at what is free before each model call; by then the bank of that call is filled. What it cannot see, when
it decides how much of the model to load, is the bank of the calls to come.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import comfy.model_management
import torch

from ...layers import LayerSelection
from .. import families
from ..families.noting import uncompiled_module
from ..families.transformer import Transformer
from .references import Reference

_KINDS = 2
"""Positive and negative are kept at the same time, but for guidance of 1."""
_MOST = 0.9
"""The share of a device's memory that banks of one kind of conditioning may take: there is a model beside them."""


def bytes_kept(model: Any, reference: Reference, layers: LayerSelection) -> int:
    """What the bank of a reference takes for one kind of conditioning with the host's `model` (a patcher)."""
    unet = uncompiled_module(model.get_model_object("diffusion_model"))
    keeping, family = reference.keeping, families.find(unet)
    dtype = model.model.get_dtype_inference()
    element = 2 if keeping.half_precision else torch.empty((), dtype=dtype).element_size()
    return -(-family.bytes_kept(unet, reference.samples.shape, layers, element) // keeping.stride**2)


def with_banks(
    model: Any, references: Sequence[Reference], layers: LayerSelection, noise_shape: Sequence[int]
) -> list[int]:
    """The shape of the noise of a run with as many more images as take the memory of the references' banks.

    The host estimates a run's memory by that shape, for twice the images.
    """
    on_device = sum(bytes_kept(model, each, layers) for each in references if not each.keeping.on_cpu)
    images = 2 * float(model.model.memory_required([1, *noise_shape[1:]]))
    return [noise_shape[0] + math.ceil(_KINDS * on_device / images), *noise_shape[1:]]


def require_room(model: Any, references: Sequence[Reference], layers: LayerSelection) -> None:
    """Raises ValueError where the banks of a run can never fit, with the size that would."""
    for on_cpu in {each.keeping.on_cpu for each in references}:
        placed = [each for each in references if each.keeping.on_cpu == on_cpu]
        needed = sum(bytes_kept(model, each, layers) for each in placed)
        device = torch.device("cpu") if on_cpu else model.load_device
        there = _MOST * comfy.model_management.get_total_memory(device)
        if needed > there:
            largest = max(placed, key=lambda each: each.samples[0].numel())
            height, width = largest.samples.shape[-2:]
            factor = math.sqrt(there / needed)
            raise ValueError(
                f"What the layers keep of the references takes {needed / 2**30:.1f} GiB, and there is room for "
                f"{there / 2**30:.1f}. Take a reference of at most {int(width * factor)} x {int(height * factor)} in "
                f"latent pixels (the largest has {width} x {height}), fewer references, or set thin to 1/4"
                + ("" if on_cpu else " or memory to the CPU")
                + " in Style Aligned: Reference."
            )


def require_positions(model: Any, reference: Reference) -> None:
    """Raises ValueError where a model has no positions for a picture of the reference's size."""
    unet = uncompiled_module(model.get_model_object("diffusion_model"))
    family = families.of_unet(unet)
    if not isinstance(family, Transformer):
        return
    (side, count), patch = family.most_tokens(unet), family.patch_size(unet)
    image = family.image(unet, reference.samples)
    is_too_long = side is not None and max(image.height, image.width) > side
    if is_too_long or (count is not None and image.tokens > count):
        height, width = reference.samples.shape[-2:]
        most = f"{side * patch} x {side * patch}" if side is not None else f"{(count or 0) * patch**2} in all"
        raise ValueError(
            f"The reference is {width} x {height} in latent pixels, and this model has positions for {most}. Scale the "
            "picture down before VAE Encode."
        )
