"""Masks in transformers: against dense oracles in float64, in every family."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from joint_oracle import Sharing
from masked_joint_oracle import MaskedJoint
from masked_oracles import Given
from oracles import relative_error
from runs import run, shared_everywhere, variants
from style_aligned.nodes.masks import StyleAlignedMasks
from style_aligned.nodes.reference import StyleAlignedReference
from torch import Tensor
from variant import Variant

STYLE = torch.linspace(-0.3, 1.0, 20 * 12).clamp_min(0.0).view(20, 12)
TARGETS = torch.stack([torch.linspace(0, 1, 16 * 16).view(16, 16), torch.ones(16, 16).tril()])


def masked(model: Any, style: Tensor | None, target: Tensor | None) -> Any:
    return StyleAlignedMasks.execute(model, style, target).result[0]


OF_ONE_FRAME = [each for each in variants() if each.id != "qwen_image_layered"]
TYPICAL = ("flux_dev", "qwen_image", "z_image", "krea2", "sd35_medium", "hidream_i1", "cosmos_predict2")


@pytest.mark.parametrize("variant", OF_ONE_FRAME, indirect=True)
def test_both_masks(variant: Variant) -> None:
    settings = {"shift": 0.4, "strength": 0.7, "adain_values": True}
    actual = run(masked(shared_everywhere(variant.model(), **settings), STYLE, TARGETS), variant)
    oracle = MaskedJoint(variant, Given(STYLE, TARGETS), Sharing(**settings))
    assert relative_error(actual, run(oracle.patcher, variant)) < 1e-5
    assert relative_error(actual, run(shared_everywhere(variant.model(), **settings), variant)) > 1e-3


@pytest.mark.thorough
@pytest.mark.parametrize("settings", [{}, {"positions": "same", "high": 0.5}, {"positions": "none"}], ids=str)
@pytest.mark.parametrize("variant", variants(*TYPICAL), indirect=True)
def test_a_part_of_the_reference(variant: Variant, settings: dict[str, Any]) -> None:
    if settings and not variant.is_rotary:
        settings = {}
    actual = run(masked(shared_everywhere(variant.model(), **settings), STYLE, None), variant)
    oracle = MaskedJoint(variant, Given(STYLE), Sharing(**settings))
    assert relative_error(actual, run(oracle.patcher, variant)) < 1e-5


@pytest.mark.parametrize("variant", variants("flux_dev", "qwen_image", "sd35_medium"), indirect=True)
def test_the_mask_of_a_reference_apart(variant: Variant) -> None:
    """As big a picture that is white only where the masked one is: of another size than the targets, too."""
    taller = replace(variant, latent=(*variant.latent[:-2], variant.latent[-2] + 2, variant.latent[-1]))
    reference = {"samples": 0.5 * taller.noise(1, seed=9)}
    model = shared_everywhere(variant.model())

    def drawn(style: Tensor | None) -> Tensor:
        return run(StyleAlignedReference.execute(model, reference, style_mask=style).result[0], variant, 2)

    assert torch.equal(drawn(torch.ones(1, 4, 4)), drawn(None))
    assert relative_error(drawn(STYLE), drawn(None)) > 1e-3
    assert relative_error(drawn(0.5 * torch.ones(1, 4, 4)), of_half_weight(model, reference, variant)) < 1e-5


def of_half_weight(model: Any, reference: dict[str, Tensor], variant: Variant) -> Tensor:
    """A grey reference is one of half the weight."""
    return run(StyleAlignedReference.execute(model, reference, weight=0.5).result[0], variant, 2)


@pytest.mark.parametrize("variant", variants("flux_dev", "z_image", "sd35_medium"), indirect=True)
def test_a_black_target_is_as_without_sharing(variant: Variant) -> None:
    black = masked(shared_everywhere(variant.model()), None, torch.zeros(1, 8, 8))
    assert relative_error(run(black, variant), run(variant.model(), variant)) < 1e-5
