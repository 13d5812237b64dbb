"""Where the reference's keys stand, against rotations of complex numbers in float64."""

from __future__ import annotations

import pytest
import torch
from style_aligned.shared_attention.positions import ReferencePositions
from style_aligned.shared_attention.rotary import Rotary, rotations
from torch import Tensor

AXES = "tyyyxxx"
FREQUENCIES = torch.tensor([1.0, 1.0, 0.1, 0.01, 1.0, 0.1, 0.01], dtype=torch.float64)
WIDTH = 4
TURN = Rotary(rotations(WIDTH * FREQUENCIES * torch.tensor([axis == "x" for axis in AXES]))[None, None, None])


def keys(positions: Tensor) -> Tensor:
    """Keys as a model has them at (t, y, x) positions, from the same features at all of them."""
    features = torch.randn(2, 3, 1, len(AXES), dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    angles = positions[:, ["tyx".index(axis) for axis in AXES]] * FREQUENCIES
    return torch.view_as_real(features * torch.polar(torch.ones_like(angles), angles)).flatten(-2)


PLACES = torch.cartesian_prod(torch.ones(1), torch.arange(3.0), torch.arange(float(WIDTH))).double()
IMAGE = Rotary(rotations(PLACES[:, ["tyx".index(axis) for axis in AXES]] * FREQUENCIES)[None, None])


def placed(settings: ReferencePositions) -> Tensor:
    """From the keys as they are before they are rotated."""
    rotation, features = settings.rotation(IMAGE, IMAGE, TURN, AXES), keys(torch.zeros_like(PLACES))
    return features if rotation is None else rotation(features)


def test_beside_is_as_far_to_the_right_as_the_image_is_wide():
    expected = keys(PLACES + torch.tensor([0.0, 0.0, WIDTH]))
    torch.testing.assert_close(placed(ReferencePositions()), expected)


def test_same_is_where_the_target_is():
    torch.testing.assert_close(placed(ReferencePositions("same")), keys(PLACES))


def test_none_takes_every_place_away():
    torch.testing.assert_close(placed(ReferencePositions("none")), keys(torch.zeros_like(PLACES)))


@pytest.mark.parametrize(
    ("placing", "positions"),
    [
        ("beside", PLACES + torch.tensor([0.0, 0.0, WIDTH])),
        ("same", PLACES),
        ("none", torch.zeros_like(PLACES)),
    ],
)
def test_frequencies_are_scaled_wherever_the_keys_stand(placing: str, positions: Tensor):
    factors = torch.tensor([1.0, 0.5, 0.875, 2.0, 0.5, 0.875, 2.0], dtype=torch.float64)
    expected = keys(positions) * factors.repeat_interleave(2)
    torch.testing.assert_close(placed(ReferencePositions(placing, 0.5, 2.0)), expected)


def test_a_placing_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="positions is 'above'; choose one of beside, same, none"):
        ReferencePositions("above")
