"""Group norm with pooled statistics against the appended feature maps."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import Layout, relative_error, shared_group_norm
from style_aligned.shared_attention.group_norm import Moments, moments, normalise, pool


def feature_maps(rows: int, channels: int, height: int, width: int, seed: int = 0, offset: float = 0.5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    spread = 3 * torch.rand(rows, channels, 1, 1, generator=generator) + 0.1
    return spread * torch.randn(rows, channels, height, width, generator=generator) + offset


def pooled_with_first(x: torch.Tensor, groups: int, strength: float = 1.0) -> Moments:
    own = moments(x, groups)
    first = Moments(own.mean[:1].expand_as(own.mean), own.variance[:1].expand_as(own.variance))
    return pool(own, [(first, strength)])


@given(st.integers(2, 4), st.sampled_from([1, 2, 4]), st.integers(1, 9), st.integers(2, 9), st.integers(0, 99))
def test_equals_appended_feature_maps(rows: int, groups: int, height: int, width: int, seed: int):
    x = feature_maps(rows, 8, height, width, seed)
    weight, bias = torch.randn(2, 8, generator=torch.Generator().manual_seed(seed))
    actual = normalise(x, pooled_with_first(x, groups), weight, bias, 1e-5)
    assert relative_error(actual, shared_group_norm(x, groups, weight, bias, 1e-5, Layout(1, rows))) < 1e-5


def test_own_moments_are_plain_group_norm():
    x = feature_maps(3, 8, 5, 7)
    torch.testing.assert_close(normalise(x, moments(x, 4), None, None, 1e-5), torch.nn.functional.group_norm(x, 4))


def test_means_far_from_zero_keep_their_precision():
    x = feature_maps(3, 8, 16, 16, offset=50.0)
    actual = normalise(x, pooled_with_first(x, 4), None, None, 1e-5)
    assert relative_error(actual, shared_group_norm(x, 4, None, None, 1e-5, Layout(1, 3))) < 2e-5


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 1e-3), (torch.bfloat16, 5e-3)])
def test_half_precision_keeps_float32_statistics(dtype: torch.dtype, tolerance: float):
    x = feature_maps(3, 8, 16, 16, offset=4.0).to(dtype)
    weight, bias = torch.randn(2, 8).to(dtype)
    shared = pooled_with_first(x, 4)
    assert shared.mean.dtype == torch.float32
    actual = normalise(x, shared, weight, bias, 1e-5)
    assert actual.dtype == dtype
    assert relative_error(actual, shared_group_norm(x, 4, weight, bias, 1e-5, Layout(1, 3))) < tolerance


def test_memory_format_is_kept():
    x = feature_maps(2, 8, 4, 4).to(memory_format=torch.channels_last)
    out = normalise(x, pooled_with_first(x, 2), None, None, 1e-5)
    assert out.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(out, normalise(x.contiguous(), pooled_with_first(x.contiguous(), 2), None, None, 1e-5))


@pytest.mark.parametrize("strength", [0.0, 0.25, 1.0])
def test_strength_counts_the_references_values_less(strength: float):
    x = feature_maps(3, 8, 5, 7)
    expected = shared_group_norm(x, 4, None, None, 1e-5, Layout(1, 3), strength)
    assert relative_error(normalise(x, pooled_with_first(x, 4, strength), None, None, 1e-5), expected) < 1e-5


def test_gradients_pass():
    x = feature_maps(2, 4, 3, 3).double().requires_grad_()
    weight, bias = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)

    def shared(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return normalise(x, pooled_with_first(x, 2, 0.5), weight, bias, 1e-5)

    assert torch.autograd.gradcheck(shared, (x, weight, bias))
