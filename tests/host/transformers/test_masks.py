"""Masks in transformers: against dense oracles in float64, in every family."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from joint_oracle import JointAttention, JointOracle, Sharing, bias_of_row, softmax_attention
from masked_oracles import Given, weighted_adain
from oracles import relative_error
from runs import run, shared_everywhere, variants
from style_aligned.nodes.masks import StyleAlignedMasks
from style_aligned.nodes.reference import StyleAlignedReference
from torch import Tensor
from variant import Variant

STYLE = torch.linspace(-0.3, 1.0, 20 * 12).clamp_min(0.0).view(20, 12)
TARGETS = torch.stack([torch.linspace(0, 1, 16 * 16).view(16, 16), torch.ones(16, 16).tril()])


class MaskedJoint(JointOracle):
    """The tiny model of `variant`; row 0 of each chunk is the reference. given: one target mask for each target."""

    def __init__(self, variant: Variant, given: Given, sharing: Sharing) -> None:
        super().__init__(variant, sharing)
        self.given = given

    def _rows(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
        tokens = self.variant.tokens(self.unet, self.latent, query.shape[2])
        joint = JointAttention(tokens, self.variant.rope(self.unet), scale)
        grid = self._grid(tokens.image)
        out = []
        for row, ref in self.layout.pairs():
            bias, own = bias_of_row(mask, row, len(query), query.shape[2]), [query[row], key[row], value[row]]
            alone = joint.alone(*own, bias)
            if row == ref:
                out.append(alone)
                continue
            shared = self._of_target(joint, own, [query[ref], key[ref], value[ref]], bias, grid)
            of_image = self.given.of_target(row - ref - 1, *grid)
            blend = of_image.mean().expand(query.shape[2]).clone()
            blend[tokens.image] = of_image
            out.append(blend[:, None] * shared + (1 - blend[:, None]) * alone)
        return torch.stack(out)

    def _grid(self, image: slice) -> tuple[int, int]:
        height, width = self.latent[-2:]
        patch = round(math.sqrt(height * width / (image.stop - image.start)))
        return -(-height // patch), -(-width // patch)

    def _of_target(
        self, joint: JointAttention, own: list[Tensor], reference: list[Tensor], bias: Tensor, grid: tuple[int, int]
    ) -> Tensor:
        sharing, image = self.sharing, joint.tokens.image
        counts = self.given.of_reference(*grid)
        flags = (sharing.adain_queries, sharing.adain_keys, sharing.adain_values)
        query, key, value = (x.clone() for x in own)
        for x, y, flag in zip((query, key, value), reference, flags, strict=True):
            if flag:
                x[:, image] = weighted_adain(x[:, image], y[:, image], counts, sharing.strength)
        copied = sharing.scale * joint.reference_key(reference[1], sharing)
        logits = (sharing.shift + math.log(sharing.strength) + counts.log()).expand(*bias.shape[:2], -1)
        keys, values = torch.cat([joint.turned(key), copied], 1), torch.cat([value, reference[2][:, image]], 1)
        return softmax_attention(joint.turned(query), keys, values, torch.cat([bias, logits], 2), joint.scale)


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
