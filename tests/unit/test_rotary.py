"""Rotary positions, against complex numbers in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import relative_error
from style_aligned.shared_attention.rotary import Rotary, frequency_scales
from torch import Tensor

ROWS, HEADS, TOKENS, PAIRS = 2, 3, 7, 5


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def matrices(angles: Tensor) -> Tensor:
    """[[cos, -sin], [sin, cos]] of each angle."""
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)


def turned(x: Tensor, angles: Tensor, halves: bool) -> Tensor:
    """The oracle: each pair is a complex number, multiplied by e^(i angle); channels past the pairs stay."""
    pairs = angles.shape[-1]
    if halves:
        pair = torch.complex(x[..., :pairs], x[..., pairs : 2 * pairs]) * torch.polar(torch.ones_like(angles), angles)
        return torch.cat([pair.real, pair.imag, x[..., 2 * pairs :]], -1)
    pair = torch.complex(x[..., 0 : 2 * pairs : 2], x[..., 1 : 2 * pairs : 2]) * torch.polar(
        torch.ones_like(angles), angles
    )
    return torch.cat([torch.view_as_real(pair).flatten(-2), x[..., 2 * pairs :]], -1)


layouts = pytest.mark.parametrize(("halves", "rest"), [(False, 0), (True, 0), (False, 4), (True, 3)])


@layouts
@pytest.mark.parametrize("own", [(1, 1), (ROWS, 1), (1, HEADS), (ROWS, HEADS)])
def test_turns_each_pair_by_its_angle(halves: bool, rest: int, own: tuple[int, int]):
    x, angles = random(ROWS, HEADS, TOKENS, 2 * PAIRS + rest), random(*own, TOKENS, PAIRS, seed=1)
    out = Rotary(matrices(angles), halves)(x)
    torch.testing.assert_close(out, turned(x, angles, halves))
    assert out.is_contiguous()


@layouts
def test_the_inverse_takes_back(halves: bool, rest: int):
    x, angles = random(ROWS, HEADS, TOKENS, 2 * PAIRS + rest), random(1, 1, TOKENS, PAIRS, seed=1)
    torch.testing.assert_close(Rotary(matrices(angles), halves).inverse()(turned(x, angles, halves)), x)


def test_the_inverse_of_rounded_matrices_takes_back_what_they_did():
    """Rounded, they are no rotations any more: the transpose would be off by 1e-3."""
    x, angles = random(1, HEADS, TOKENS, 2 * PAIRS).float(), random(1, 1, TOKENS, PAIRS, seed=1)
    rotary = Rotary(matrices(angles).bfloat16())
    assert relative_error(rotary.inverse()(rotary(x)), x) < 1e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_computes_in_float32_whatever_it_is_given(dtype: torch.dtype):
    x, angles = random(ROWS, HEADS, TOKENS, 2 * PAIRS).to(dtype), random(1, 1, TOKENS, PAIRS, seed=1)
    out = Rotary(matrices(angles).float())(x)
    assert out.dtype == torch.float32
    assert relative_error(out, turned(x.double(), angles, False)) < 1e-7


@given(st.floats(-50, 50), st.floats(-50, 50))
def test_rotations_add_up(first: float, second: float):
    frequency = 10000.0 ** (-torch.arange(PAIRS, dtype=torch.float64) / PAIRS)
    one, other, both = (
        Rotary(matrices(position * frequency)[None, None, None]) for position in (first, second, first + second)
    )
    x = random(ROWS, HEADS, TOKENS, 2 * PAIRS)
    torch.testing.assert_close(one.then(other)(x), both(x))
    torch.testing.assert_close(other(one(x)), both(x))


def test_composing_is_of_matrices_in_order():
    """Scaled or rounded matrices do not commute."""
    general, other = Rotary(random(1, 1, TOKENS, PAIRS, 2, 2)), Rotary(random(1, 1, 1, PAIRS, 2, 2, seed=3))
    x = random(ROWS, HEADS, TOKENS, 2 * PAIRS, seed=4)
    torch.testing.assert_close(general.then(other)(x), other(general(x)))


def test_rotations_that_pair_channels_differently_do_not_compose():
    one = Rotary(matrices(random(1, 1, TOKENS, PAIRS)))
    with pytest.raises(ValueError, match="pair channels in different ways"):
        one.then(Rotary(one.matrices, halves=True))


@layouts
def test_scales_multiply_both_channels_of_a_pair(halves: bool, rest: int):
    x, angles, scales = random(1, 1, TOKENS, 2 * PAIRS + rest), random(1, 1, TOKENS, PAIRS), random(PAIRS, seed=2)
    of_channels = torch.cat([scales, scales]) if halves else scales.repeat_interleave(2)
    expected = turned(x, angles, halves) * torch.cat([of_channels, torch.ones(rest)])
    torch.testing.assert_close(Rotary(matrices(angles), halves).scaled(scales)(x), expected)


def test_tokens_and_rows_can_be_picked():
    x, angles = random(ROWS, HEADS, TOKENS, 2 * PAIRS), random(ROWS, 1, TOKENS, PAIRS, seed=1)
    picked = Rotary(matrices(angles)).of_tokens(slice(2, 5)).of_rows(lambda rows: rows[1:], ROWS)
    assert picked.tokens == 3
    torch.testing.assert_close(picked(x[1:, :, 2:5]), turned(x, angles, False)[1:, :, 2:5])


def test_positions_in_common_belong_to_every_row():
    rotary = Rotary(matrices(random(1, 1, TOKENS, PAIRS)))
    assert rotary.of_rows(lambda rows: rows[1:], ROWS).matrices.shape[0] == 1


@given(st.integers(1, 12), st.floats(0, 4), st.floats(0, 4))
def test_scales_follow_the_equation(pairs: int, high: float, low: float):
    scales = frequency_scales("y" * pairs, high, low)
    for n in range(pairs):
        expected = high + (low - high) * (n / (pairs - 1)) ** 2 if pairs > 1 else high
        assert float(scales[n]) == pytest.approx(expected, abs=1e-6)


def test_each_axis_of_the_image_has_the_curve_of_its_own_and_others_have_none():
    scales = frequency_scales("tttyyyxxxxx", high=0.5, low=1.5)
    torch.testing.assert_close(scales[:3], torch.ones(3))
    torch.testing.assert_close(scales[3:6], torch.tensor([0.5, 0.75, 1.5]))
    torch.testing.assert_close(scales[6:], 0.5 + torch.arange(5).div(4).square())


def test_interleaved_axes_rank_within_their_own():
    scales = frequency_scales("tyxtyxtyx", high=0.0, low=4.0)
    torch.testing.assert_close(scales, torch.tensor([1.0, 0, 0, 1, 1, 1, 1, 4, 4]))


def test_equal_ends_are_one_factor():
    torch.testing.assert_close(frequency_scales("tyyxx", 2.0, 2.0), torch.tensor([1.0, 2, 2, 2, 2]))
