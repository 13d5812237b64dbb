"""Shared attention of one layer against the dense oracle."""

from __future__ import annotations

import math

import pytest
import torch
from attention import SoftmaxAttention
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import Layout, adain, attention, relative_error
from oracles import shared_attention as oracle
from style_aligned.shared_attention.attending import Extension, Projections
from style_aligned.shared_attention.beside import share_beside
from style_aligned.shared_attention.rows import Rows
from style_aligned.shared_attention.sharing import (
    Features,
    SharingSettings,
    align,
    extensions,
    features,
    given_statistics,
    share,
)
from style_aligned.shared_attention.sources import Weighted
from torch import Tensor

OPTIONS = [
    {},
    {"scale": 0.3},
    {"scale": 0.0},
    {"shift": math.log(2)},
    {"shift": -3.0},
    {"shift": 10.0},
    {"adain_queries": False},
    {"adain_keys": False},
    {"adain_values": True},
    {"adain_queries": False, "adain_keys": False},
    {"strength": 0.3},
    {"strength": 0.05, "shift": 2.0, "adain_values": True},
]
any_options = st.fixed_dictionaries(
    {
        "scale": st.floats(0, 2),
        "shift": st.floats(-10, 10),
        "adain_queries": st.booleans(),
        "adain_keys": st.booleans(),
        "adain_values": st.booleans(),
        "strength": st.floats(0.01, 1),
    }
)


def attend_with(heads: int) -> SoftmaxAttention:
    return SoftmaxAttention(heads)


def projections(rows: Rows, tokens: int, channels: int, seed: int = 0, dtype: torch.dtype = torch.float32):
    generator = torch.Generator().manual_seed(seed)
    spread = torch.rand(3, rows.count, 1, channels, generator=generator) + 0.5
    mean = torch.randn(3, rows.count, 1, channels, generator=generator)
    noise = torch.randn(3, rows.count, tokens, channels, generator=generator)
    return Projections(*(spread * noise + mean).to(dtype))


def shared(
    given_projections: Projections, rows: Rows, sharing: SharingSettings, heads: int, takes_bias: bool = True
) -> Tensor:
    """The targets' outputs: (chunks, targets, tokens, channels)."""
    reference = features(Projections(*map(rows.references, given_projections)), sharing)
    aligned = aligned_to(reference, Projections(*map(rows.targets, given_projections)), sharing)
    return share(aligned, extended(reference, aligned, sharing), sharing.scale, SoftmaxAttention(heads, takes_bias))


def aligned_to(reference: Features, own: Projections, sharing: SharingSettings) -> Projections:
    return align(own, given_statistics([Weighted(reference)]), sharing.strength)


def extended(reference: Features, own: Projections, sharing: SharingSettings) -> list[Extension]:
    return extensions([Weighted(reference)], sharing, own.key.shape[-2], own.key)


def expected(given_projections: Projections, rows: Rows, heads: int, **options) -> Tensor:
    layout = Layout(rows.chunks, rows.images, rows.reference)
    return rows.targets(oracle(*given_projections, heads, layout, **options))


@pytest.mark.parametrize("takes_bias", [True, False])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option_equals_the_equations(options: dict, takes_bias: bool):
    rows = Rows(2, 3)
    given_projections = projections(rows, 60, 32)
    actual = shared(given_projections, rows, SharingSettings(**options), 4, takes_bias)
    assert relative_error(actual, expected(given_projections, rows, 4, **options)) < 1e-5


@given(
    rows=st.builds(Rows, st.integers(1, 3), st.integers(2, 4), st.integers(0, 1)),
    tokens=st.integers(2, 50),
    heads=st.sampled_from([1, 2, 5]),
    options=any_options,
    takes_bias=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=60)
def test_random_combinations_equal_the_equations(
    rows: Rows, tokens: int, heads: int, options: dict, takes_bias: bool, seed: int
):
    given_projections = projections(rows, tokens, heads * 8, seed)
    actual = shared(given_projections, rows, SharingSettings(**options), heads, takes_bias)
    assert relative_error(actual, expected(given_projections, rows, heads, **options)) < 1e-5


@pytest.mark.parametrize("options", OPTIONS[1:], ids=str)
def test_every_option_matters(options: dict):
    rows = Rows(1, 2)
    given_projections = projections(rows, 30, 16)
    default = shared(given_projections, rows, SharingSettings(), 2)
    assert relative_error(shared(given_projections, rows, SharingSettings(**options), 2), default) > 1e-2


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 3e-3), (torch.bfloat16, 2.5e-2)])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_half_precision(dtype: torch.dtype, tolerance: float, options: dict):
    rows = Rows(2, 3)
    given_projections = projections(rows, 60, 32, dtype=dtype)
    actual = shared(given_projections, rows, SharingSettings(**options), 4)
    assert actual.dtype == dtype
    assert relative_error(actual, expected(given_projections, rows, 4, **options)) < tolerance


def test_shift_of_ln_2_counts_the_reference_twice():
    rows = Rows(1, 3)
    given_projections = projections(rows, 20, 16, dtype=torch.float64)
    reference = Projections(*map(rows.references, given_projections))
    own = Projections(*map(rows.targets, given_projections))
    once = extended(Features(reference.key, reference.value), own, SharingSettings(shift=math.log(2)))
    twice = [Extension(*(x.repeat(1, 1, 2, 1) for x in (reference.key, reference.value)))]
    torch.testing.assert_close(share(own, once, 1.0, attend_with(2)), share(own, twice, 1.0, attend_with(2)))


def test_reference_of_another_length():
    """Features of a reference need not come from the same call; a picture counts the same at every size."""
    rows = Rows(2, 3)
    own, other = projections(rows, 40, 16), projections(Rows(2, 1), 25, 16, seed=5)
    reference = Projections(*(x.unsqueeze(1) for x in other))
    targets = Projections(*map(rows.targets, own))
    given_features = features(reference, SharingSettings())
    sharing = SharingSettings()
    aligned = aligned_to(given_features, targets, sharing)
    actual = share(aligned, extended(given_features, aligned, sharing), 1.0, attend_with(2))
    for chunk in range(2):
        for image in range(2):
            alone = _one_pair([x[chunk, image] for x in targets], [x[chunk, 0] for x in reference])
            assert relative_error(actual[chunk, image], alone) < 1e-5


def _one_pair(target: list[Tensor], reference: list[Tensor]) -> Tensor:
    q, k, v = (x.double() for x in target)
    rq, rk, rv = (x.double() for x in reference)
    bias = torch.cat([torch.zeros(len(k)), torch.full((len(rk),), math.log(len(k) / len(rk)))]).double()
    return attention(adain(q, rq), torch.cat([adain(k, rk), rk]), torch.cat([v, rv]), 2, bias)


@given(options=any_options, seed=st.integers(0, 99))
@settings(max_examples=25)
def test_beside_plain_attention_it_is_the_same(options: dict, seed: int):
    rows, heads = Rows(2, 3), 2
    given_projections = projections(rows, 24, 16, seed)
    sharing, attend = SharingSettings(**options), attend_with(heads)
    reference = features(Projections(*map(rows.references, given_projections)), sharing)
    aligned = aligned_to(reference, Projections(*map(rows.targets, given_projections)), sharing)
    own = attend(*(x.flatten(0, 1) for x in aligned)).view(aligned.query.shape)
    actual = share_beside(own, aligned, extended(reference, aligned, sharing), sharing.scale, attend)
    assert relative_error(actual, expected(given_projections, rows, heads, **options)) < 1e-5


class Recorder:
    """Keeps the biases that it is given."""

    takes_bias = True

    def __init__(self) -> None:
        self.seen: list[Tensor | None] = []

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
        self.seen.append(bias)
        return query


def test_bias_is_never_positive():
    """Kernels that subtract the maximum before they add a mask would overflow."""
    attend, own = Recorder(), Projections(*torch.zeros(3, 1, 1, 4, 2))
    for shift in (-10.0, 0.0, 10.0):
        share(own, [Extension(own.key, own.value, shift)], 1.0, attend)
    low, none, high = attend.seen
    assert none is None
    assert all(bias.max() <= 0 for bias in (low, high))
    assert [float(bias[0, 0, 0, 4] - bias[0, 0, 0, 0]) for bias in (low, high)] == [-10.0, 10.0]


def test_beside_other_attention_three_times_the_tokens_are_attended_to():
    """The mass needs own and reference keys, what is taken from the reference its keys alone; no bias is needed."""
    rows, attend = Rows(1, 3), SoftmaxAttention(2, takes_bias=False)
    own = Projections(*map(rows.targets, projections(rows, 20, 16)))
    reference = features(Projections(*map(rows.references, projections(rows, 20, 16))), SharingSettings())
    share_beside(own.query, own, [Extension(reference.key, reference.value, 1.0)], 1.0, attend)
    assert attend.logits == 2 * 20 * (20 + 20 + 20)


def test_a_mask_of_the_model_itself_is_kept():
    """Such as that of padded text: heads apart, the reference's columns are never masked."""
    rows, tokens, heads = Rows(1, 3), 12, 2
    given = Projections(*(x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in projections(rows, tokens, 16)))
    masked = torch.zeros(2, 1, 1, tokens)
    masked[0, ..., :5], masked[1, ..., 9:] = float("-inf"), float("-inf")
    reference = features(Projections(*map(rows.references, given)), SharingSettings())
    own = aligned_to(reference, Projections(*map(rows.targets, given)), SharingSettings())

    class Apart(Recorder):
        def __call__(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
            return torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)

    for takes_bias in (True, False):
        attend = Apart()
        attend.takes_bias = takes_bias
        actual = share(own, extended(reference, own, SharingSettings(shift=0.5)), 1.0, attend, masked)
        for target, kept in enumerate((slice(5, None), slice(0, 9))):
            for head in range(heads):
                q, k, v = (x[0, target, head].double() for x in own)
                rk, rv = (x[0, 0, head].double() for x in reference[:2])
                bias = torch.cat([torch.zeros(len(k[kept])), torch.full((tokens,), 0.5)]).double()
                alone = attention(q, torch.cat([k[kept], rk]), torch.cat([v[kept], rv]), 1, bias)
                assert relative_error(actual[0, target, head], alone) < 1e-5


@pytest.mark.parametrize("takes_bias", [True, False])
def test_gradients_pass(takes_bias: bool):
    rows = Rows(1, 2)
    inputs = [x.requires_grad_() for x in projections(rows, 5, 4, dtype=torch.float64)]
    sharing = SharingSettings(shift=0.5, strength=0.6, adain_values=True)
    assert torch.autograd.gradcheck(lambda *x: shared(Projections(*x), rows, sharing, 2, takes_bias), inputs)
