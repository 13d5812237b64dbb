"""Sampling through the host as its KSampler node does, and sharing attached as our node does."""

from __future__ import annotations

from typing import Any

import comfy.sample
import torch
from comfy.model_patcher import ModelPatcher
from style_aligned.nodes.share_attention import StyleAlignedShareAttention
from tiny_models import conditioning
from torch import Tensor

DEFAULTS: dict[str, Any] = {
    "scale": 1.0,
    "shift": 0.0,
    "share_group_norm": False,
    "adain_queries": True,
    "adain_keys": True,
    "adain_values": False,
    "start_percent": 0.0,
    "end_percent": 1.0,
    "blocks": "",
    "strength": 1.0,
    "reference_without_control": False,
}


def shared(model: ModelPatcher, **options: Any) -> ModelPatcher:
    """The output of the Share Attention node."""
    return StyleAlignedShareAttention.execute(model, **{**DEFAULTS, **options}).result[0]


def noise(images: int = 3, height: int = 8, width: int = 8, channels: int = 4, seed: int = 7) -> Tensor:
    """Each image's noise depends on its index only."""
    generators = (torch.Generator().manual_seed(seed + image) for image in range(images))
    return torch.stack([torch.randn(channels, height, width, generator=generator) for generator in generators])


def rows_of(conditioning: list[list[Any]], rows: slice) -> list[list[Any]]:
    """The CONDITIONING of some of the rows of a batch."""
    [[embeddings, options]] = conditioning
    count = len(embeddings)

    def picked(value: Any) -> Any:
        if isinstance(value, list):
            return [picked(each) for each in value]
        return value[rows] if isinstance(value, Tensor) and value.ndim and len(value) == count else value

    return [[embeddings[rows], {name: picked(value) for name, value in options.items()}]]


def sample(
    model: ModelPatcher,
    images: int = 3,
    steps: int = 3,
    cfg: float = 4.0,
    sampler: str = "euler",
    scheduler: str = "normal",
    positive: list | None = None,
    negative: list | None = None,
    initial: Tensor | None = None,
    latent: Tensor | None = None,
    **options: Any,
) -> Tensor:
    """The sampled latents: (images, channels, height, width). initial: the noise. latent: where it starts, empty."""
    initial = noise(images) if initial is None else initial
    positive = conditioning(images, seed=1) if positive is None else positive
    negative = conditioning(1, seed=2) if negative is None else negative
    latent = torch.zeros_like(initial) if latent is None else latent
    return comfy.sample.sample(
        model, initial, steps, cfg, sampler, scheduler, positive, negative, latent,
        seed=3, disable_pbar=True, **options,
    )  # fmt: skip
