"""Inversion of an image with a model of the host, through the host's own sampling.

It runs as a sampler of the host with rising noise levels. So model patches, LoRA, hooks, ControlNet in the
conditioning, guidance, memory management, previews and interruption are those of any other sampling run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import comfy.model_sampling
import comfy.sample
import comfy.samplers
import torch
from comfy.utils import model_trange
from torch import Tensor

from ..inversion import inversion_steps
from ..trajectory import LatentSpace, Trajectory
from . import families
from .apart.references import without_references
from .calls import ROW_REFERENCE
from .families.transformer import Transformer
from .reference_latent import kind_of, latent_space, one_image
from .wrappers import STEP_CACHES, SamplingCallback, detach

Conditioning = list[list[Any]]


def invert(
    model: Any,
    positive: Conditioning,
    negative: Conditioning | None,
    latent: Mapping[str, Any],
    steps: int,
    cfg: float,
    preview: SamplingCallback | None = None,
    disable_pbar: bool = False,
) -> Trajectory:
    """The trajectory of the image in the host's LATENT. Without `negative` the guidance is away from zeros.

    References are left out, apart ones and one in row 0, which is the image itself; and so are caches that skip steps,
    which fail where noise levels do not fall.
    Raises ValueError before sampling starts where the image or the model cannot be inverted.
    """
    _require_invertible(model)
    samples = one_image(model, latent)
    sigmas = rising_sigmas(model, steps)
    space = latent_space(model)
    sampler = Inversion(space)
    comfy.sample.sample_custom(
        detach(without_references(model), ROW_REFERENCE, *STEP_CACHES),
        torch.zeros_like(samples),
        cfg,
        sampler,
        sigmas,
        positive,
        zeroed(positive) if negative is None else negative,
        samples,
        callback=preview,
        disable_pbar=disable_pbar,
        seed=0,
    )
    latents = torch.cat(sampler.latents)
    if not bool(latents.isfinite().all()):
        raise ValueError(
            "The inversion gave values that are no numbers (NaN or infinite). Lower cfg (the authors use 2), or run "
            "the model in a higher precision."
        )
    return Trajectory(sigmas, latents, space, *kind_of(model))


class Inversion(comfy.samplers.Sampler):  # type: ignore[misc]
    """A sampler of the host that goes up in noise. `latents`: that of each level of its run, float32 on the CPU."""

    def __init__(self, space: LatentSpace) -> None:
        self.space = space
        self.latents: list[Tensor] = []

    def sample(
        self,
        model_wrap: Any,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: SamplingCallback | None,
        noise: Tensor,
        latent_image: Tensor,
        denoise_mask: Tensor | None = None,
        disable_pbar: bool = False,
    ) -> Tensor:
        """latent_image: (1, channels, ..., height, width), in the sampler's space. Returns the noisiest latent."""

        def denoise(x: Tensor, sigma: float) -> Tensor:
            denoised: Tensor = model_wrap(x, x.new_full((1,), sigma), **extra_args)
            return denoised

        sigma_data = float(getattr(model_wrap.inner_model.model_sampling, "sigma_data", 1.0))
        self.latents = [latent_image.float().cpu()]
        x, total = latent_image, len(sigmas) - 1
        steps = inversion_steps(denoise, latent_image, sigmas.tolist(), self.space, sigma_data)
        for number in model_trange(total, disable=disable_pbar):
            x, denoised = next(steps)
            self.latents.append(x.float().cpu())
            if callback is not None:
                callback(number, denoised, x, total)
        return x


def _require_invertible(model: Any) -> None:
    sampling = model.get_model_object("model_sampling")
    denoises = isinstance(sampling, (comfy.model_sampling.EPS, comfy.model_sampling.CONST))
    turns_images = isinstance(sampling, (comfy.model_sampling.IMG_TO_IMG, comfy.model_sampling.IMG_TO_IMG_FLOW))
    is_video = model.model.model_config.unet_config.get("use_temporal_attention", False)
    # Some transformers that make images have latents of one frame: those that can share.
    has_frames = model.get_model_object("latent_format").latent_dimensions != 2
    family = families.of_unet(model.get_model_object("diffusion_model"))
    is_image = not is_video and (not has_frames or isinstance(family, Transformer))
    if not denoises or turns_images or not is_image:
        raise ValueError(
            f"Style Aligned cannot invert an image with this model ({type(model.model).__name__}). It needs a model "
            "that makes images from noise by predicting noise, v or a flow's velocity, such as SD 1.x, SD 2.x, SDXL, "
            "SD 3, Flux or Qwen-Image."
        )


def rising_sigmas(model: Any, steps: int) -> Tensor:
    """The noise levels of evenly spaced timesteps, from 0 to the model's highest: (steps + 1,).

    They are the host's "normal" schedule: 0, then t = 0, 20.4 .. 999 for 50 steps. The authors' t = 0, 20 .. 980 do not
    reach the noise level at which samplers of the host start. Levels that coincide are one.
    """
    sampling = model.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(sampling, "normal", steps)
    return torch.tensor(sorted(set(sigmas.tolist())))


def zeroed(conditioning: Conditioning) -> Conditioning:
    """What guidance is away from without a negative prompt: the authors' embedding of the empty prompt (SDXL's)."""
    return [
        [
            torch.zeros_like(embeddings),
            {k: torch.zeros_like(v) if k == "pooled_output" and v is not None else v for k, v in options.items()},
        ]
        for embeddings, options in conditioning
    ]
