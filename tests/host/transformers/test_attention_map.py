"""Where targets look in transformers: against dense joint attention in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from joint_oracle import JointAttention, Sharing, softmax_attention
from masked_joint_oracle import MaskedJoint
from masked_oracles import Given
from runs import run, shared_everywhere, variants
from style_aligned.nodes.attention_map import StyleAlignedRecordAttention
from style_aligned.nodes.masks import StyleAlignedMasks
from style_aligned.nodes.reference import StyleAlignedReference
from torch import Tensor
from variant import Variant

STYLE = torch.linspace(0.0, 1.0, 20 * 12).view(20, 12)
TARGETS = torch.stack([torch.linspace(0, 1, 16 * 16).view(16, 16), torch.ones(16, 16).tril()])


class LookingJoint(MaskedJoint):
    """It keeps, in order, what share of each of the image's queries the reference has: (tokens,) for each target."""

    def __init__(self, *args: Any) -> None:
        self.masses: list[Tensor] = []
        self.kinds: list[int] = []
        super().__init__(*args)

    def _call(self, apply_model: Any, arguments: dict[str, Any]) -> Tensor:
        self.kinds = [kind for kind in arguments["cond_or_uncond"] for _ in range(2)]
        self.asked = 0
        return super()._call(apply_model, arguments)

    def _attended(self, joint: JointAttention, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        number, image = self.asked % len(self.kinds), joint.tokens.image
        self.asked += 1
        if self.kinds[number] == 0:
            own = query.shape[1]
            of_reference = torch.cat([torch.zeros_like(value[:, :own]), torch.ones_like(value[:, own:])], 1)
            mass = softmax_attention(query, key, of_reference, bias, joint.scale).mean((0, 2))[image]
            self.masses.append(mass * self.given.of_target(number % 2, *self._grid(image)))
        return super()._attended(joint, query, key, value, bias)


def looks_of(record: Any, images: int) -> list[Any]:
    return record.run_of(images).looks


TYPICAL = ("flux_dev", "qwen_image", "z_image", "krea2", "sd35_medium", "hidream_i1", "cosmos_predict2")
OTHERS = [each for each in variants() if each.id not in (*TYPICAL, "qwen_image_layered")]
ALL = [*variants(*TYPICAL), *(pytest.param(*each.values, id=each.id, marks=pytest.mark.thorough) for each in OTHERS)]


@pytest.mark.parametrize("variant", ALL, indirect=True)
def test_against_the_dense_oracle(variant: Variant) -> None:
    settings, given = {"shift": 0.4, "strength": 0.7}, Given(STYLE, TARGETS)
    model = StyleAlignedMasks.execute(shared_everywhere(variant.model(), **settings), STYLE, TARGETS).result[0]
    model, record = StyleAlignedRecordAttention.execute(model, 9).result
    run(model, variant)
    oracle = LookingJoint(variant, given, Sharing(**settings))
    run(oracle.patcher, variant)
    looks = looks_of(record, 3)
    assert len(oracle.masses) == 2 * len(looks) > 0
    for number, look in enumerate(looks):
        expected = torch.stack(oracle.masses[2 * number : 2 * number + 2])
        assert torch.allclose(look.seen[0].mass.flatten(1).double(), expected, atol=1e-5)


@pytest.mark.parametrize("variant", variants("flux_dev", "z_image", "sd35_medium"), indirect=True)
def test_a_reference_apart(variant: Variant) -> None:
    """Its copy, of half its weight each time, is looked at as much as it is; nothing else is changed."""
    reference = {"samples": 0.5 * variant.noise(1, seed=9)}
    once = StyleAlignedReference.execute(shared_everywhere(variant.model()), reference).result[0]
    half = StyleAlignedReference.execute(shared_everywhere(variant.model()), reference, weight=0.5).result[0]
    twice = StyleAlignedReference.execute(half, reference, weight=0.5).result[0]
    records = []
    for model in (once, twice):
        watched, record = StyleAlignedRecordAttention.execute(model, 9).result
        assert torch.equal(run(watched, variant, 2), run(model, variant, 2))
        records.append(looks_of(record, 2))
    for single, both in zip(*records, strict=True):
        assert torch.allclose(single.seen[0].mass, both.seen[0].mass + both.seen[1].mass, atol=1e-5)
