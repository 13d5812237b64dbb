"""The noise of a given picture."""

from __future__ import annotations

import pytest
import torch
from style_aligned.shared_attention.fixed_noise import fixed_noise


def picture(seed: int = 0, *shape: int) -> torch.Tensor:
    return torch.randn(shape or (1, 4, 64, 64), generator=torch.Generator().manual_seed(seed))


def test_it_is_standard_normal_and_independent_of_the_picture():
    noise = fixed_noise(picture())
    assert noise.dtype == torch.float32
    assert noise.mean().abs() < 0.05
    assert abs(noise.std() - 1) < 0.05
    assert (noise * picture()).mean().abs() < 0.05


def test_it_depends_on_the_picture_alone():
    first = fixed_noise(picture())
    torch.manual_seed(5)
    assert torch.equal(fixed_noise(picture()), first)
    assert torch.equal(fixed_noise(picture().to(memory_format=torch.channels_last)), first)
    assert (fixed_noise(picture(1)) - first).std() > 1
    one_value = picture()
    one_value[0, 3, 63, 63] += 1
    assert (fixed_noise(one_value) - first).std() > 1


def test_drawing_it_leaves_other_draws_as_they_were():
    torch.manual_seed(7)
    expected = torch.randn(3)
    torch.manual_seed(7)
    fixed_noise(picture())
    assert torch.equal(torch.randn(3), expected)


@pytest.mark.parametrize("shape", [(1, 16, 1, 6, 10), (1, 4, 7, 11)], ids=str)
def test_another_size(shape: tuple[int, ...]):
    assert fixed_noise(picture(0, *shape)).shape == shape
    assert fixed_noise(picture(0, *shape), (12, 20)).shape == (*shape[:-2], 12, 20)


def test_half_precision_pictures_have_noise_too():
    assert fixed_noise(picture().half()).dtype == torch.float32
