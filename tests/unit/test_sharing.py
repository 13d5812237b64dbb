"""Shared attention of one layer against the dense oracle."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import Layout, adain, attention, relative_error
from oracles import shared_attention as oracle
from style_aligned.shared_attention.rows import Rows
from style_aligned.shared_attention.sharing import Projections, SharingSettings, align, share, share_beside
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
]
any_options = st.fixed_dictionaries(
    {
        "scale": st.floats(0, 2),
        "shift": st.floats(-10, 10),
        "adain_queries": st.booleans(),
        "adain_keys": st.booleans(),
        "adain_values": st.booleans(),
    }
)


def attend_with(heads: int):
    """Softmax attention as the host calls it: heads side by side in the channels, an additive mask."""

    def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
        q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return out.transpose(1, 2).flatten(2)

    return attend


def projections(rows: Rows, tokens: int, channels: int, seed: int = 0, dtype: torch.dtype = torch.float32):
    generator = torch.Generator().manual_seed(seed)
    spread = torch.rand(3, rows.count, 1, channels, generator=generator) + 0.5
    mean = torch.randn(3, rows.count, 1, channels, generator=generator)
    noise = torch.randn(3, rows.count, tokens, channels, generator=generator)
    return Projections(*(spread * noise + mean).to(dtype))


def shared(given_projections: Projections, rows: Rows, sharing: SharingSettings, heads: int) -> Tensor:
    """The targets' outputs: (chunks, targets, tokens, channels)."""
    reference = Projections(*map(rows.references, given_projections))
    aligned = align(Projections(*map(rows.targets, given_projections)), reference, sharing)
    return share(aligned, reference, sharing, attend_with(heads))


def expected(given_projections: Projections, rows: Rows, heads: int, **options) -> Tensor:
    layout = Layout(rows.chunks, rows.images, rows.reference)
    return rows.targets(oracle(*given_projections, heads, layout, **options))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option_equals_the_equations(options: dict):
    rows = Rows(2, 3)
    given_projections = projections(rows, 60, 32)
    actual = shared(given_projections, rows, SharingSettings(**options), 4)
    assert relative_error(actual, expected(given_projections, rows, 4, **options)) < 1e-5


@given(
    rows=st.builds(Rows, st.integers(1, 3), st.integers(2, 4), st.integers(0, 1)),
    tokens=st.integers(2, 50),
    heads=st.sampled_from([1, 2, 5]),
    options=any_options,
    seed=st.integers(0, 99),
)
@settings(max_examples=60)
def test_random_combinations_equal_the_equations(rows: Rows, tokens: int, heads: int, options: dict, seed: int):
    given_projections = projections(rows, tokens, heads * 8, seed)
    actual = shared(given_projections, rows, SharingSettings(**options), heads)
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
    sharing = SharingSettings(shift=math.log(2))
    twice = Projections(*(x.repeat(1, 1, 2, 1) for x in reference))
    torch.testing.assert_close(
        share(own, reference, sharing, attend_with(2)), share(own, twice, SharingSettings(), attend_with(2))
    )


def test_reference_of_another_length():
    """Features of a reference need not come from the same call."""
    rows = Rows(2, 3)
    own, other = projections(rows, 40, 16), projections(Rows(2, 1), 25, 16, seed=5)
    reference = Projections(*(x.unsqueeze(1) for x in other))
    targets = Projections(*map(rows.targets, own))
    actual = share(align(targets, reference, SharingSettings()), reference, SharingSettings(), attend_with(2))
    for chunk in range(2):
        for image in range(2):
            alone = _one_pair([x[chunk, image] for x in targets], [x[chunk, 0] for x in reference])
            assert relative_error(actual[chunk, image], alone) < 1e-5


def _one_pair(target: list[Tensor], reference: list[Tensor]) -> Tensor:
    q, k, v = (x.double() for x in target)
    rq, rk, rv = (x.double() for x in reference)
    return attention(adain(q, rq), torch.cat([adain(k, rk), rk]), torch.cat([v, rv]), 2)


@given(options=any_options, seed=st.integers(0, 99))
@settings(max_examples=25)
def test_beside_plain_attention_it_is_the_same(options: dict, seed: int):
    rows, heads = Rows(2, 3), 2
    given_projections = projections(rows, 24, 16, seed)
    sharing, attend = SharingSettings(**options), attend_with(heads)
    reference = Projections(*map(rows.references, given_projections))
    aligned = align(Projections(*map(rows.targets, given_projections)), reference, sharing)
    own = attend(*(x.flatten(0, 1) for x in aligned)).view(aligned.query.shape)
    actual = share_beside(own, aligned, reference, sharing, attend)
    assert relative_error(actual, expected(given_projections, rows, heads, **options)) < 1e-5


def test_bias_is_never_positive():
    """Kernels that subtract the maximum before they add a mask would overflow."""
    seen = []

    def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        seen.append(bias)
        return query

    own = Projections(*torch.zeros(3, 1, 1, 4, 2))
    for shift in (-10.0, 0.0, 10.0):
        share(own, own, SharingSettings(shift=shift), attend)
    assert seen[1] is None
    assert all(bias.max() <= 0 for bias in (seen[0], seen[2]))
    assert [float(bias[0, 0, 0, 4] - bias[0, 0, 0, 0]) for bias in (seen[0], seen[2])] == [-10.0, 10.0]
