"""What a reference latent has to be, checked in the user's words before anything is sampled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import comfy.model_sampling
import torch
from torch import Tensor

from ..trajectory import LatentSpace, Trajectory

# Trajectories are kept in float32 and may have been through a file.
_SAME_IMAGE = 1e-3


def one_image(model: Any, latent: Mapping[str, Any]) -> Tensor:
    """The samples of the host's LATENT: (1, channels, height, width), or with one frame where the model has frames.

    Raises ValueError where it is not one image's latent that fits `model`.
    """
    samples = _images(model, latent["samples"], "The reference")
    if len(samples) > 1:
        raise ValueError(f"The reference has {len(samples)} images; give one. Latent From Batch picks it.")
    if samples.numel() == 0 or not bool(torch.count_nonzero(samples)):
        raise ValueError("The reference is empty. Connect VAE Encode of your picture, not an empty latent.")
    _require_fitting(model, samples, "The reference")
    return samples


def images_like(model: Any, reference: Tensor, latent: Mapping[str, Any]) -> Tensor:
    """The samples of the host's LATENT of images of the reference's size: (images, channels, height, width).

    Raises ValueError where they are none, do not fit `model` or are of another size.
    """
    samples = _images(model, latent["samples"], "pictures")
    if samples.numel() == 0:
        raise ValueError("pictures has no image. Connect VAE Encode of your pictures, or nothing.")
    _require_fitting(model, samples, "pictures")
    if samples.shape[-2:] != reference.shape[-2:]:
        raise ValueError(
            f"pictures are {samples.shape[-1]} x {samples.shape[-2]} in latent pixels, the reference "
            f"{reference.shape[-1]} x {reference.shape[-2]}. They are sampled as one batch: scale or crop one of them "
            "to the size of the other before VAE Encode."
        )
    return samples


def _images(model: Any, samples: Any, name: str) -> Tensor:
    """`samples` as the host samples images: with a dimension of one frame where the model's latents have frames."""
    has_frames = model.get_model_object("latent_format").latent_dimensions == 3
    is_image = not samples.is_nested and (
        samples.ndim == 4 or (samples.ndim == 5 and has_frames and samples.shape[2] == 1)
    )
    if not is_image:
        raise ValueError(
            f"{name} is no image's latent (it has frames or several parts). "
            "Give the latent of one image, from VAE Encode."
        )
    return cast(Tensor, samples.unsqueeze(2) if has_frames and samples.ndim == 4 else samples)


def _require_fitting(model: Any, samples: Tensor, name: str) -> None:
    if not bool(samples.isfinite().all()):
        raise ValueError(f"{name} has values that are no numbers (NaN or infinite); encode the picture again.")
    expected, channels = model.get_model_object("latent_format").latent_channels, samples.shape[1]
    if channels != expected:
        raise ValueError(
            f"{name} has {channels} latent channels, this model has {expected}. "
            "Encode the picture with this model's own VAE."
        )


def require_matching(model: Any, reference: Tensor, trajectory: Trajectory) -> None:
    """Raises ValueError where `trajectory` is not an inversion of `reference` by a model like this one."""
    kind = kind_of(model)
    if (trajectory.model, trajectory.latent_format) != kind:
        raise ValueError(
            f"The trajectory was made with another kind of model: {trajectory.model} with {trajectory.latent_format} "
            f"latents. This one is {kind[0]} with {kind[1]} latents. Invert the picture with this model."
        )
    height, width = trajectory.latents.shape[-2:]
    if trajectory.clean.shape != reference.shape:
        raise ValueError(
            f"The trajectory is of a picture of another size: {width} x {height} in latent pixels, the reference has "
            f"{reference.shape[-1]} x {reference.shape[-2]}. Invert the reference that you connect."
        )
    clean = model.get_model_object("latent_format").process_in(reference.float().cpu())
    if float((clean - trajectory.clean).norm()) > _SAME_IMAGE * float(clean.norm()):
        raise ValueError("The trajectory was made from another picture. Invert the reference that you connect.")


def kind_of(model: Any) -> tuple[str, str]:
    """What a model and its latents are, as names of the host's classes: ("SDXL", "SDXL").

    The model's is its configuration's class, which unlike the model's own tells SD 1.x from 2.x.
    """
    return type(model.model.model_config).__name__, type(model.get_model_object("latent_format")).__name__


def latent_space(model: Any) -> LatentSpace:
    """How the latents of the host's samplers mix signal and noise with this model."""
    is_flow = isinstance(model.get_model_object("model_sampling"), comfy.model_sampling.CONST)
    return LatentSpace.FLOW if is_flow else LatentSpace.VARIANCE_EXPLODING
