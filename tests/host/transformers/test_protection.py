"""protect_content in transformers: the reference's subject is found by joint attention to text."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from joint_oracle import JointAttention, Sharing, softmax_attention
from masked_joint_oracle import MaskedJoint
from masked_oracles import Given
from oracles import relative_error
from runs import run, shared_everywhere, variants
from style_aligned.nodes.masks import StyleAlignedMasks
from style_aligned.shared_attention.subject_map import subject_in
from style_aligned.shared_attention.subject_words import WORDS, Words
from torch import Tensor
from torch.nn.functional import interpolate
from variant import Variant

PLACES = (1, 4)


def with_words(variant: Variant) -> list[list[Any]]:
    return [
        [embeddings, {**options, WORDS: Words({"bull": PLACES}, embeddings.shape[1])}]
        for embeddings, options in variant.conditioning(3, seed=1)
    ]


def protected(model: Any, amount: float) -> Any:
    return StyleAlignedMasks.execute(model, None, None, amount, "").result[0]


class ProtectedJoint(MaskedJoint):
    """text: where in the joint sequence the text starts."""

    def __init__(self, variant: Variant, sharing: Sharing, text: int) -> None:
        self.text, self.kinds, self.found, self.known = text, [0], [], None
        super().__init__(variant, Given(), sharing)

    def _call(self, apply_model: Any, arguments: dict[str, Any]) -> Tensor:
        if self.found:
            new = sum(self.found) / len(self.found)
            self.known = new if self.known is None else (self.known + new) / 2
        self.kinds, self.found = arguments["cond_or_uncond"], []
        return super()._call(apply_model, arguments)

    def _rows(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
        tokens = self.variant.tokens(self.unet, self.latent, query.shape[2])
        joint = JointAttention(tokens, self.variant.rope(self.unet), scale)
        if query.shape[2] == tokens.image.stop - tokens.image.start:  # some blocks attend to the image alone, too
            return super()._rows(query, key, value, mask, scale)
        row = self.kinds.index(0) * self.layout.images
        words = torch.zeros_like(value[row])
        words[:, [self.text + place for place in PLACES]] = 1.0
        bias = torch.zeros(1, 1, query.shape[2], dtype=torch.float64)
        mass = (
            joint.alone(query[row], key[row], words, bias)
            .mean((0, 2))[tokens.image]
            .view(1, 1, *self._grid(tokens.image))
        )
        self.found.append(interpolate(mass / mass.mean(), (32, 32), mode="bilinear")[0, 0])
        return super()._rows(query, key, value, mask, scale)

    def _attended(self, joint: JointAttention, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        image, own = joint.tokens.image, query.shape[1]
        if self.known is not None:
            known = interpolate(subject_in(self.known)[None, None], self._grid(image), mode="area").flatten()

            def mass(part: Tensor) -> Tensor:
                values = torch.zeros_like(value)
                values[:, own:] = part[:, None]
                return softmax_attention(query, key, values, bias, joint.scale)[:, image].mean()

            cap = (mass(1 - known) / (1 - known).sum() / (mass(known) / known.sum())).log().clamp_max(0)
            bias = torch.cat([bias[..., :own], bias[..., own:] + cap * known], 2)
        return super()._attended(joint, query, key, value, bias)


@pytest.mark.parametrize("variant", variants("flux_dev", "sd35_medium"), indirect=True)
def test_against_the_dense_oracle(variant: Variant) -> None:
    given = with_words(variant)
    model = shared_everywhere(variant.model(), shift=1.5)
    actual = run(protected(model, 1.0), variant, positive=given, steps=3)
    text = 0 if variant.name.startswith("flux") else text_of(variant)
    oracle = ProtectedJoint(variant, Sharing(shift=1.5), text)
    assert relative_error(actual, run(oracle.patcher, variant, positive=given, steps=3)) < 1e-5
    assert relative_error(actual, run(model, variant, positive=given, steps=3)) > 1e-5


def text_of(variant: Variant) -> int:
    """Text after the image's tokens."""
    unet = variant.model().model.diffusion_model
    image = variant.tokens(unet, torch.Size((1, *variant.latent)), 10_000).image
    return 0 if image.start >= variant.text else image.stop


@pytest.mark.parametrize("variant", variants("qwen_image", "z_image", "krea2", "hidream_i1"), indirect=True)
def test_other_layouts_find_it_too(variant: Variant, caplog: pytest.LogCaptureFixture) -> None:
    given = with_words(variant)
    model = shared_everywhere(variant.model(), shift=1.5)
    free = run(model, variant, positive=given, steps=3)
    assert torch.equal(run(protected(model, 0.0), variant, positive=given, steps=3), free)
    assert relative_error(run(protected(model, 1.0), variant, positive=given, steps=3), free) > 1e-7
    assert "protect_content" not in caplog.text


@pytest.mark.parametrize("variant", variants("cosmos_predict2"), indirect=True)
def test_layers_without_text_say_so(variant: Variant, caplog: pytest.LogCaptureFixture) -> None:
    given = with_words(variant)
    model = shared_everywhere(variant.model())
    assert torch.equal(run(protected(model, 1.0), variant, positive=given), run(model, variant, positive=given))
    assert "no layer that shares attends to text" in caplog.text
