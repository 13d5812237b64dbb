"""AdaIN over tokens."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import adain as oracle
from oracles import relative_error
from style_aligned.shared_attention.adain import adain, statistics


def tensors(*shapes: tuple[int, ...], seed: int = 0, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [(2 * torch.randn(shape, generator=generator) + 0.5).to(dtype) for shape in shapes]


@given(st.integers(4, 40), st.integers(4, 40), st.integers(1, 12), st.integers(0, 99))
def test_equals_the_equation(tokens: int, reference_tokens: int, channels: int, seed: int):
    x, y = tensors((tokens, channels), (reference_tokens, channels), seed=seed)
    assert relative_error(adain(x, statistics(y)), oracle(x.double(), y.double())) < 1e-5


def test_statistics_become_the_references():
    x, y = tensors((500, 6), (700, 6), dtype=torch.float64)
    out = adain(x, statistics(3 * y - 8))
    torch.testing.assert_close(out.mean(0), (3 * y - 8).mean(0))
    torch.testing.assert_close(out.std(0), (3 * y - 8).std(0), rtol=1e-4, atol=0)


def test_channels_far_from_zero_keep_their_precision():
    x, y = tensors((300, 4), (300, 4), dtype=torch.float64)
    x, y = (x + 1000).float(), (y - 2000).float()
    assert relative_error(adain(x, statistics(y)), oracle(x.double(), y.double())) < 1e-6


def test_constant_channels_stay_finite():
    x, y = torch.ones(9, 3), torch.full((9, 3), 2.0)
    torch.testing.assert_close(adain(x, statistics(y)), y)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 1e-3), (torch.bfloat16, 8e-3)])
def test_half_precision_is_limited_by_its_rounding_only(dtype: torch.dtype, tolerance: float):
    x, y = tensors((200, 16), (200, 16), dtype=dtype)
    out = adain(x, statistics(y))
    assert out.dtype == dtype
    assert relative_error(out, oracle(x.double(), y.double())) < tolerance


def test_large_half_precision_values_do_not_overflow():
    """The variance of these channels is beyond float16's range."""
    x, y = tensors((200, 4), (200, 4))
    out = adain((1000 * x).half(), statistics((2000 * y).half()))
    assert out.isfinite().all()


def test_leading_dimensions_of_the_reference_broadcast():
    x, y = tensors((2, 3, 10, 4), (2, 1, 10, 4))
    out = adain(x, statistics(y))
    for chunk in range(2):
        for image in range(3):
            torch.testing.assert_close(out[chunk, image], adain(x[chunk, image], statistics(y[chunk, 0])))


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float16, 1e-3)])
def test_strength_mixes_with_what_was_there(strength: float, dtype: torch.dtype, tolerance: float):
    x, y = tensors((30, 6), (20, 6), dtype=dtype)
    expected = (1 - strength) * x.double() + strength * oracle(x.double(), y.double())
    assert relative_error(adain(x, statistics(y), strength), expected) < tolerance


def test_gradients_pass():
    x, y = (tensor.requires_grad_() for tensor in tensors((7, 3), (5, 3), dtype=torch.float64))
    assert torch.autograd.gradcheck(lambda x, y: adain(x, statistics(y), 0.7), (x, y))
