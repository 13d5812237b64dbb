"""What the reference shows is kept out of targets: the cap, and where the subject is."""

from __future__ import annotations

import math

import pytest
import torch
from attention import SoftmaxAttention
from style_aligned.shared_attention.attending import Extension, Projections
from style_aligned.shared_attention.protection import protected
from style_aligned.shared_attention.sharing import share
from style_aligned.shared_attention.subject_map import SIDE, SubjectMap, subject_in
from torch import Tensor

CHUNKS, TARGETS, HEADS, CHANNELS, OWN, OTHERS = 2, 3, 2, 8, 12, 10
SUBJECT = torch.tensor([0, 0, 1.0, 1, 0.5, 0, 0, 0.25, 0, 0], dtype=torch.float64)
COUNTS = torch.linspace(0.2, 1.0, OTHERS, dtype=torch.float64)


def own() -> Projections:
    generator = torch.Generator().manual_seed(1)
    shape = (3, CHUNKS, TARGETS, OWN, HEADS * CHANNELS)
    query, key, value = torch.randn(shape, generator=generator, dtype=torch.float64)
    return Projections(query + 0.5, key, value)


def reference(seed: int = 2, counts: Tensor | None = None, number: int = 0, leaks: float = 2.0) -> Extension:
    """One at whose subject the targets look much."""
    generator = torch.Generator().manual_seed(seed)
    key, value = torch.randn((2, CHUNKS, 1, OTHERS, HEADS * CHANNELS), generator=generator, dtype=torch.float64)
    key = key + 0.5 * leaks * SUBJECT[:, None]
    return Extension(key, value, 0.3, counts, None, SUBJECT, number)


def dense(references: list[Extension], biases: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Attention with biases (chunks, targets, tokens) on the references' logits: its output and its weights."""
    heads = [x.unflatten(-1, (HEADS, CHANNELS)).transpose(2, 3) for x in own()]
    logits = [heads[0] @ heads[1].transpose(-1, -2) / math.sqrt(CHANNELS)]
    values = [heads[2]]
    for each, bias in zip(references, biases, strict=True):
        key, value = (x.unflatten(-1, (HEADS, CHANNELS)).transpose(2, 3) for x in (each.key, each.value))
        logits.append(heads[0] @ key.transpose(-1, -2) / math.sqrt(CHANNELS) + bias[:, :, None, None])
        values.append(value.expand(-1, TARGETS, -1, -1, -1))
    weights = torch.cat(logits, -1).softmax(-1)
    return (weights @ torch.cat(values, -2)).transpose(2, 3).flatten(-2), weights


def plain_bias(each: Extension) -> Tensor:
    counts = torch.ones(OTHERS, dtype=torch.float64) if each.counts is None else each.counts
    return (each.bias + counts.log()).expand(CHUNKS, TARGETS, -1)


def expected_bias(each: Extension, weights: Tensor, start: int, amount: float) -> Tensor:
    """Straight from the rule, row by row."""
    counts = torch.ones(OTHERS, dtype=torch.float64) if each.counts is None else each.counts
    mass = weights[..., start : start + OTHERS].mean((2, 3))
    bias = plain_bias(each).clone()
    for chunk in range(CHUNKS):
        for target in range(TARGETS):
            of_subject = (mass[chunk, target] * SUBJECT).sum() / (SUBJECT * counts).sum()
            of_rest = (mass[chunk, target] * (1 - SUBJECT)).sum() / ((1 - SUBJECT) * counts).sum()
            bias[chunk, target] += amount * min(0.0, math.log(of_rest / of_subject)) * SUBJECT
    return bias


CASES = {
    "one": [reference()],
    "counted": [reference(counts=COUNTS)],
    "two": [reference(counts=COUNTS), reference(5, number=1)],
    "never leaked": [reference(leaks=-3.0)],
}


@pytest.mark.parametrize("takes_bias", [True, False])
@pytest.mark.parametrize("amount", [0.5, 1.0])
@pytest.mark.parametrize("case", CASES)
def test_against_dense_attention(case: str, amount: float, takes_bias: bool) -> None:
    references, attend = CASES[case], SoftmaxAttention(HEADS, takes_bias)
    capped = protected(own(), references, amount, None, 1.0, attend, heads=HEADS)
    _, weights = dense(references, [plain_bias(each) for each in references])
    starts = [OWN + OTHERS * number for number in range(len(references))]
    biases = [expected_bias(each, weights, start, amount) for each, start in zip(references, starts, strict=True)]
    expected, _ = dense(references, biases)
    assert torch.allclose(share(own(), capped, 1.0, attend), expected, atol=1e-10)
    if case == "never leaked":
        assert torch.allclose(share(own(), references, 1.0, attend), expected, atol=1e-10)
    else:
        assert not torch.allclose(share(own(), references, 1.0, attend), expected, atol=1e-3)


def test_a_token_of_the_subject_gets_about_what_others_get() -> None:
    capped = protected(own(), CASES["one"], 1.0, None, 1.0, SoftmaxAttention(HEADS), heads=HEADS)
    biases = [(each.bias + each.counts.log()) for each in capped]

    def ratio(weights: Tensor) -> Tensor:
        mass = weights[..., OWN:].mean((2, 3))
        of_subject, of_rest = (mass * SUBJECT).sum(-1), (mass * (1 - SUBJECT)).sum(-1)
        return of_subject / SUBJECT.sum() / (of_rest / (1 - SUBJECT).sum())

    before = ratio(dense(CASES["one"], [plain_bias(CASES["one"][0])])[1])
    after = ratio(dense(CASES["one"], biases)[1])
    assert float(before.min()) > 1.3
    assert float((after - 1).abs().max()) < 0.35


def test_heads_that_are_apart() -> None:
    def apart(x: Tensor) -> Tensor:
        return x.unflatten(-1, (HEADS, CHANNELS)).transpose(2, 3)

    class Apart:
        takes_bias = False

        def __call__(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
            return torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)

    [one] = CASES["one"]
    theirs = Projections(*map(apart, own()))
    references = [one._replace(key=apart(one.key), value=apart(one.value))]
    out = share(theirs, protected(theirs, references, 1.0, None, 1.0, Apart()), 1.0, Apart())
    beside = SoftmaxAttention(HEADS)
    expected = share(own(), protected(own(), [one], 1.0, None, 1.0, beside, heads=HEADS), 1.0, beside)
    assert torch.allclose(out.transpose(2, 3).flatten(-2), expected, atol=1e-10)


def test_where_nothing_is_known_nothing_is_done() -> None:
    unknown = [reference()._replace(subject=None)]
    attend = SoftmaxAttention(HEADS)
    assert protected(own(), unknown, 1.0, None, 1.0, attend, heads=HEADS) == unknown
    assert attend.logits == 0


def square(high: float) -> Tensor:
    scores = 0.1 * torch.rand(SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    scores[8:20, 10:16] += high
    return scores


def test_the_subject_is_where_the_scores_are_high() -> None:
    found = subject_in(square(1.0))
    inside = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    inside[8:20, 10:16] = True
    assert float(found[inside].min()) > 0.9
    assert float(found[~inside].max()) < 0.1
    assert torch.allclose(subject_in(7 + 3 * square(1.0)), found, atol=1e-5)


def test_scores_that_are_all_alike() -> None:
    assert bool(subject_in(torch.ones(SIDE, SIDE)).isfinite().all())


def test_what_an_evaluation_finds_is_known_from_the_next_on() -> None:
    known = SubjectMap()
    for level, high in ((3.0, 1.0), (2.0, 5.0), (1.0, 9.0)):
        known.at(level)
        before = known.mask
        for factor in (1.0, 40.0):  # layers count the same, however much they look
            known.add(factor * square(high).flatten(), (1, SIDE, SIDE))
        known.at(level)
        assert known.mask is before
    first, second = (square(high) / square(high).mean() for high in (1.0, 5.0))
    assert known.mask is not None
    assert torch.allclose(known.mask.values[0], subject_in(0.5 * first + 0.5 * second), atol=1e-4)
