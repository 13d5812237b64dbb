"""How pictures, and those that they take a style from, are laid out on a thumbnail."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from devtools.pictures.thumbnails import THUMBNAIL_SIZE, beside_given, fitted, sheet_of_rows


def picture(colour: str = "red", width: int = 32, height: int = 32) -> Image.Image:
    return Image.new("RGB", (width, height), colour)


@pytest.mark.parametrize(
    ("pictures", "rows", "factor"),
    [
        ([picture()] * 3, [2, 2], 8),
        ([picture(width=64)] * 3, [2, 1, 1], 5),
        ([picture(width=128)], [1, 1], 4),
    ],
)
def test_the_given_picture_and_the_others_are_as_large_as_can_be(pictures, rows, factor):
    laid_out = beside_given([picture("blue")], pictures, mixed=False)
    assert [len(row) for row in laid_out] == rows
    sheet = np.asarray(sheet_of_rows(laid_out))
    assert sheet.shape == (THUMBNAIL_SIZE, THUMBNAIL_SIZE, 3)
    assert (sheet == (0, 0, 255)).all(-1).sum() == (32 * factor) ** 2


@pytest.mark.parametrize("size", [(700, 900), (900, 300), (50, 60)])
def test_a_map_is_as_large_as_can_be_on_its_own_paper(size):
    shown = picture("red", *size)
    shown.paste("blue", (0, 0, 1, 1))
    sheet = np.asarray(fitted(shown)).astype(int)
    assert sheet.shape == (THUMBNAIL_SIZE, THUMBNAIL_SIZE, 3)
    is_red = sheet[..., 0] > sheet[..., 2]
    extent = [int(is_red.any(axis).sum()) for axis in (0, 1)]
    assert extent == pytest.approx([THUMBNAIL_SIZE * side / max(size) for side in size], abs=2)


def test_styles_that_are_mixed_stand_above_the_columns_with_most_of_them():
    pictures = [picture(colour) for colour in ("red", "lime", "yellow") for _ in range(3)]
    first, *others = beside_given([picture("blue"), picture("black")], pictures, mixed=True)
    assert [each.getpixel((0, 0)) for each in first] == [(0, 0, 255), (255, 255, 255), (0, 0, 0)]
    assert [[each.getpixel((0, 0)) for each in row] for row in others] == [
        [(255, 0, 0), (0, 255, 0), (255, 255, 0)]
    ] * 3
