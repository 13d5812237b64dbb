"""The batch that is sampled with a given reference: its latent first, then where the targets start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from comfy.utils import repeat_to_batch_size
from torch import Tensor

from ..reference_latent import images_like


def batch_from_noise(model: Any, reference: Tensor, targets: int) -> dict[str, Any]:
    """The reference, then empty latents. They get the noise that they would have without the reference."""
    return {"samples": torch.cat([reference, _empty(model, reference, targets)]), "batch_index": _indices(targets)}


def batch_from_reference(latent: Mapping[str, Any], reference: Tensor, targets: int) -> dict[str, Any]:
    """The reference, then as many copies of it, with the noise mask of its `latent`."""
    batch = {"samples": reference.repeat(1 + targets, *[1] * (reference.ndim - 1)), "batch_index": _indices(targets)}
    if "noise_mask" in latent:
        batch["noise_mask"] = latent["noise_mask"]
    return batch


def batch_from_pictures(model: Any, reference: Tensor, pictures: Mapping[str, Any]) -> dict[str, Any]:
    """The reference, then the images of the host's LATENT `pictures`, with their noise mask and their own noise.

    Raises ValueError where they are not latents of images of the reference's size that fit `model`.
    """
    samples = images_like(model, reference, pictures)
    if not torch.count_nonzero(samples):  # the host does not shift an empty latent, but all of a batch with a picture
        samples = _empty(model, reference, len(samples))
    indices = list(pictures.get("batch_index", range(len(samples))))
    batch = {"samples": torch.cat([reference, samples.to(reference)]), "batch_index": [max(indices) + 1, *indices]}
    if "noise_mask" in pictures:
        batch["noise_mask"] = _of_targets(pictures["noise_mask"], samples)
    return batch


def _empty(model: Any, reference: Tensor, targets: int) -> Tensor:
    """What is zero in the sampler's space: (targets, channels, height, width)."""
    empty = model.get_model_object("latent_format").process_out(torch.zeros_like(reference))
    return cast(Tensor, empty.repeat(targets, *[1] * (reference.ndim - 1)))


def _indices(targets: int) -> list[int]:
    """The targets' within the host's noise are those that they have without the reference."""
    return [targets, *range(targets)]


def _of_targets(mask: Tensor, targets: Tensor) -> Tensor:
    """A noise mask, one value a pixel, for the reference, all of which is sampled, and `targets`."""
    frames = [1] * (targets.ndim - 4)
    masks = repeat_to_batch_size(mask.reshape(-1, 1, *frames, *mask.shape[-2:]), len(targets))
    return torch.cat([torch.ones_like(masks[:1]), masks])
