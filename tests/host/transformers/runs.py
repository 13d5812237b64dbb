"""Sampling a variant's model, and the pack's nodes on it."""

from __future__ import annotations

from typing import Any

import pytest
from all_variants import SUPPORTED
from comfy.model_patcher import ModelPatcher
from sampling import sample, shared
from torch import Tensor
from variant import Variant


def variants(*names: str) -> list[Any]:
    """Parameters: the variants named, or all, of those that this host has."""
    return [pytest.param(variant, id=name) for name, variant in SUPPORTED.items() if not names or name in names]


def run(model: ModelPatcher, variant: Variant, images: int = 3, cfg: float = 4.0, **options: Any) -> Tensor:
    """Two steps. The latents: (images, *variant.latent)."""
    given = {
        "positive": variant.conditioning(images, seed=1),
        "negative": variant.conditioning(1, seed=2),
        "initial": variant.noise(images),
        **options,
    }
    return sample(model, images, steps=2, cfg=cfg, scheduler="simple", **given)


def shared_everywhere(model: ModelPatcher, **options: Any) -> ModelPatcher:
    """Shared in every joint layer, whatever the family's authors share."""
    return shared(model, **{"blocks": "all", **options})
