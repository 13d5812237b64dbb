"""protect_content in whole runs: against a dense oracle in float64, and in the ways in which batches are sampled."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from apart_references import apart
from comfy.ldm.modules.attention import BasicTransformerBlock
from given_reference import ksampler, with_reference
from masked_oracles import Given, MaskedUNet
from oracles import attention, relative_error
from sampling import noise, rows_of, sample, shared
from style_aligned.nodes.masks import StyleAlignedMasks
from style_aligned.shared_attention.conditioning import batch_conditionings
from style_aligned.shared_attention.host import backend
from style_aligned.shared_attention.subject_map import subject_in
from style_aligned.shared_attention.subject_words import WORDS, Words
from tiny_models import conditioning, tiny_model
from torch import Tensor
from torch.nn.functional import interpolate

PLACES = (2, 3, 7)
STRONG = {"shift": 1.5}


def with_words(given: list[list[Any]]) -> list[list[Any]]:
    """A conditioning of which is known that its subject is a red bull."""
    return [
        [embeddings, {**options, WORDS: Words({"red": PLACES[:1], "bull": PLACES[1:]}, embeddings.shape[1])}]
        for embeddings, options in given
    ]


def protected(model: Any, amount: float = 1.0, subject: str = "", style: Tensor | None = None) -> Any:
    return StyleAlignedMasks.execute(model, style, None, amount, subject).result[0]


def drawn(model: Any, images: int = 3, steps: int = 3, **options: Any) -> Tensor:
    return sample(model, images, steps=steps, positive=with_words(conditioning(images, seed=1)), **options)


def sharp(model: Any) -> Any:
    """With attention that is not nearly even everywhere, as random weights have it."""
    for module in model.model.diffusion_model.modules():
        if isinstance(module, BasicTransformerBlock):
            for attention_layer in (module.attn1, module.attn2):
                attention_layer.to_q.weight.data *= 3
    return model


class ProtectedUNet(MaskedUNet):
    """The tiny UNet in float64: text attention of the reference is averaged over layers, and kept for the next step."""

    def __init__(self, family: str, given: Given, options: dict[str, Any], amount: float) -> None:
        self.amount, self.kinds, self.found, self.known = amount, [0], [], None
        super().__init__(family, given, options)
        for module in self.patcher.model.diffusion_model.modules():
            if isinstance(module, BasicTransformerBlock):
                module.attn2.forward = self._text_attention_of(module.attn2)

    def _note_layout(self, apply_model: Any, arguments: dict[str, Any]) -> Tensor:
        if self.found:
            new = sum(self.found) / len(self.found)
            self.known = new if self.known is None else (self.known + new) / 2
        self.kinds, self.found = arguments["cond_or_uncond"], []
        return super()._note_layout(apply_model, arguments)

    def _text_attention_of(self, layer: Any) -> Any:
        def forward(x: Tensor, context: Tensor, value: Any = None, **_: Any) -> Tensor:
            query, key, value = (y.double() for y in (layer.to_q(x), layer.to_k(context), layer.to_v(context)))
            row = self.kinds.index(0) * self.layout.images
            words = torch.zeros_like(value[row])
            words[list(PLACES)] = 1.0
            mass = attention(query[row], key[row], words, layer.heads).mean(-1).view(1, 1, *self._grid(x.shape[1]))
            self.found.append(interpolate(mass / mass.mean(), (32, 32), mode="bilinear")[0, 0])
            rows = zip(query, key, value, strict=True)
            return layer.to_out(torch.stack([attention(*each, layer.heads) for each in rows]))

        return forward

    def _attend(self, own: list[Tensor], reference: list[Tensor], counts: Tensor, heads: int) -> Tensor:
        query, keys, values, bias = self._extended(own, reference, counts)
        tokens = len(own[1])
        if self.known is not None:
            known = interpolate(subject_in(self.known)[None, None], self._grid(tokens), mode="area").flatten()
            of_parts = torch.zeros_like(values)
            of_parts[tokens:, ::2] = known[:, None]
            of_parts[tokens:, 1::2] = 1 - known[:, None]
            mass = attention(query, keys, of_parts, heads, bias).mean(0)
            of_subject = mass[::2].mean() / (known * counts).sum()
            of_rest = mass[1::2].mean() / ((1 - known) * counts).sum()
            bias = torch.cat(
                [bias[:tokens], bias[tokens:] + self.amount * (of_rest / of_subject).log().clamp_max(0) * known]
            )
        return attention(query, keys, values, heads, bias)


@pytest.mark.parametrize("takes_bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize(("amount", "style"), [(1.0, None), (0.5, torch.linspace(0.1, 1, 96).view(12, 8))])
def test_against_the_dense_oracle(
    amount: float, style: Tensor | None, takes_bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not takes_bias:
        monkeypatch.setattr(backend, "TAKE_A_MASK", frozenset())
    model = shared(sharp(tiny_model("sd15")), **STRONG)
    actual = drawn(protected(model, amount, style=style))
    oracle = ProtectedUNet("sd15", Given(style), STRONG, amount)
    assert relative_error(actual, drawn(sharp(oracle.patcher))) < 1e-5
    assert relative_error(actual, drawn(protected(model, 0.0, style=style))) > 2e-5


def test_off_is_as_without_it_to_the_bit() -> None:
    model = shared(tiny_model("sd15"))
    assert torch.equal(drawn(protected(model, 0.0)), drawn(model))


def test_the_first_evaluation_knows_nothing_yet() -> None:
    model = shared(tiny_model("sd15"), **STRONG)
    assert torch.equal(drawn(protected(model), steps=1), drawn(model, steps=1))


def test_batches_of_any_size_give_what_single_ones_give() -> None:
    model, initial, of_all = protected(shared(tiny_model("sd15"), **STRONG)), noise(3), conditioning(3, seed=1)
    together = sample(model, 3, positive=with_words(of_all), initial=initial)
    for target in (1, 2):
        rows = [0, target]
        own = [[of_all[0][0][rows], of_all[0][1]]]
        alone = sample(model, 2, positive=with_words(own), initial=initial[rows])
        assert relative_error(alone[1], together[target]) < 1e-5


def test_a_reference_apart_is_protected_from_as_one_in_the_batch() -> None:
    model, of_all = protected(shared(tiny_model("sd15"), **STRONG)), conditioning(3)
    held, latent = with_reference(model)
    expected = ksampler(held, latent, positive=with_words(of_all))[1:]
    own, others = rows_of(of_all, slice(1)), rows_of(of_all, slice(1, None))
    targets = {"samples": latent["samples"][1:], "batch_index": [0, 1]}
    given = apart(model, conditioning=with_words(own))
    assert relative_error(ksampler(given, targets, positive=others), expected) < 1e-5
    free = apart(shared(tiny_model("sd15"), **STRONG), conditioning=own)
    assert relative_error(ksampler(free, targets, positive=others), expected) > 3e-5


def test_lines_of_unlike_length() -> None:
    lines = [conditioning(1, seed=10 + row, tokens=77 * (1 + row % 2)) for row in range(3)]
    batch = with_words(batch_conditionings(lines, tokens_repeat=False))
    model = protected(shared(tiny_model("sd15"), **STRONG))
    together = sample(model, 3, positive=batch)
    alone = batch_conditionings([lines[0], lines[2]], tokens_repeat=False)
    pair = sample(model, 2, positive=with_words(alone), initial=noise(3)[[0, 2]])
    assert relative_error(pair[1], together[2]) < 1e-5


def test_a_prompt_that_is_repeated_to_the_length_of_another() -> None:
    """The negative is longer, so the host repeats the positive's tokens: the words of one copy say where it is."""
    model = protected(shared(tiny_model("sd15"), **STRONG))
    [[short, options]] = conditioning(3, seed=1)
    tokens = short.shape[1]
    long = conditioning(1, seed=2, tokens=2 * tokens)
    doubled = Words({"bull": (*PLACES, *(tokens + place for place in PLACES))}, 2 * tokens)
    expected = sample(model, 3, positive=[[short.repeat(1, 2, 1), {**options, WORDS: doubled}]], negative=long)
    assert relative_error(sample(model, 3, positive=with_words([[short, options]]), negative=long), expected) < 1e-5


def test_words_of_ones_own_choice() -> None:
    model = shared(tiny_model("sd15"), **STRONG)
    chosen = drawn(protected(model, subject="bull"))
    assert relative_error(chosen, drawn(protected(model))) > 1e-6
    assert torch.equal(chosen, drawn(protected(model, subject="Bull, dragon")))


@pytest.mark.parametrize(("subject", "known", "said"), [
    ("dragon", True, "the reference's prompt has none of the words 'dragon'"),
    ("", False, "Encode its prompt with Style Aligned: Prompts"),
])  # fmt: skip
def test_a_subject_that_is_not_known(subject: str, known: bool, said: str, caplog: pytest.LogCaptureFixture) -> None:
    model, given = shared(tiny_model("sd15"), **STRONG), conditioning(3, seed=1)
    positive = with_words(given) if known else given
    assert torch.equal(sample(protected(model, 1.0, subject), 3, positive=positive), drawn(model))
    assert said in caplog.text


def test_another_nodes_attention_to_text_stays() -> None:
    seen = []

    def theirs(query: Tensor, key: Tensor, value: Tensor, options: dict[str, Any]) -> Tensor:
        seen.append(options["block"])
        return attention_of(query, key, value, options)

    def attention_of(query: Tensor, key: Tensor, value: Tensor, options: dict[str, Any]) -> Tensor:
        from comfy.ldm.modules.attention import optimized_attention

        return 0.5 * optimized_attention(query, key, value, options["n_heads"])

    model = shared(tiny_model("sd15"), **STRONG)
    for block in (("input", 1), ("output", 0)):
        model.set_model_attn2_replace(theirs, *block)
    expected = drawn(model)
    before = len(seen)
    with_it = drawn(protected(model, 1e-9))
    assert len(seen) == 2 * before > 0
    assert relative_error(with_it, expected) < 1e-5
