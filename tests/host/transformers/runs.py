"""Sampling a variant's model, with the pack's nodes on it or with the oracle."""

from __future__ import annotations

from typing import Any

import pytest
from comfy.model_patcher import ModelPatcher
from joint_oracle import JointOracle, Sharing
from registry import SUPPORTED
from sampling import sample, shared
from torch import Tensor
from variant import Variant

PLACED = {"positions": "positions", "high": "high_frequencies", "low": "low_frequencies"}
"""What the oracle's settings are called in the Positions node; all others are Share Attention's."""


def variants(*names: str, rotary: bool = False) -> list[Any]:
    """Parameters: the variants named, or all, of those that this host has; rotary: with rotary positions only.

    Of all variants the first of each of the host's model classes is tested every day, the others in detail.
    """
    firsts = {variant.config: name for name, variant in reversed(SUPPORTED.items())}
    return [
        pytest.param(variant, id=name, marks=() if names or firsts[variant.config] == name else pytest.mark.thorough)
        for name, variant in SUPPORTED.items()
        if (not names or name in names) and (not rotary or variant.is_rotary)
    ]


def run(model: ModelPatcher, variant: Variant, images: int = 3, cfg: float = 4.0, **options: Any) -> Tensor:
    """Two steps, where `options` say nothing else. The latents: (images, *variant.latent)."""
    given = {
        "steps": 2,
        "positive": variant.conditioning(images, seed=1),
        "negative": variant.conditioning(1, seed=2),
        "initial": variant.noise(images),
        **options,
    }
    return sample(model, images, cfg=cfg, scheduler="simple", **given)


def shared_everywhere(model: ModelPatcher, **settings: Any) -> ModelPatcher:
    """Shared in every joint layer, with the oracle's `settings` in the nodes that have them."""
    placed = {PLACED[name]: value for name, value in settings.items() if name in PLACED}
    shared_model = shared(model, blocks="all", **{name: settings[name] for name in settings if name not in PLACED})
    if not placed:
        return shared_model
    from style_aligned.nodes.positions import StyleAlignedPositions

    inputs = {"positions": "beside", "high_frequencies": 1.0, "low_frequencies": 1.0, **placed}
    return StyleAlignedPositions.execute(shared_model, **inputs).result[0]


def dense(variant: Variant, options: dict[str, Any] | None = None, **settings: Any) -> Tensor:
    """What sampling with `settings` has to give; options: of the run."""
    return run(JointOracle(variant, Sharing(**settings)).patcher, variant, **(options or {}))
