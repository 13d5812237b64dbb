"""The layout of a help page's pictures."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageColor

from devtools.pictures.comparison_sheet import ACCENT
from devtools.pictures.help_strip import ENLARGED, FRAME, GAP, MARGIN, Row, save, strip


def icon(colour: str) -> Image.Image:
    return Image.new("RGB", (32, 32), colour)


def box_of(sheet: Image.Image, colour: str) -> tuple[int, int, int, int]:
    """The box around all pixels of a colour: left, top, right, bottom, the last two exclusive."""
    box = Image.fromarray((np.asarray(sheet) == ImageColor.getrgb(colour)).all(-1)).getbbox()
    assert box is not None
    return box


@pytest.fixture
def sheet() -> Image.Image:
    rows = [Row("a = 0", [icon("red"), icon("lime")]), Row("a = 1", [icon("blue"), icon("yellow")], references=0)]
    return strip(["reference", "other"], rows)


def test_rows_lie_below_each_other_in_common_columns(sheet: Image.Image) -> None:
    red, lime, blue, yellow = (box_of(sheet, colour) for colour in ("red", "lime", "blue", "yellow"))
    for left, top, right, bottom in (red, lime, blue, yellow):
        assert (right - left, bottom - top) == (32 * ENLARGED, 32 * ENLARGED)
    assert red[0] == blue[0] == MARGIN
    assert lime[0] - red[2] == GAP
    assert lime[0] == yellow[0]
    assert red[1] == lime[1]
    assert blue[1] == yellow[1] > red[3]
    assert sheet.size == (yellow[2] + MARGIN, yellow[3] + MARGIN)


def test_only_a_reference_has_a_frame(sheet: Image.Image) -> None:
    accent = ImageColor.getrgb(ACCENT)
    red, lime, blue = (box_of(sheet, colour) for colour in ("red", "lime", "blue"))
    assert sheet.getpixel((red[0] - FRAME, red[1] - FRAME)) == accent
    for left, top, _, _ in (lime, blue):
        assert sheet.getpixel((left - FRAME, top - FRAME)) != accent


def test_pixels_are_enlarged_and_not_smoothed() -> None:
    picture = icon("red")
    picture.putpixel((0, 0), (0, 0, 255))
    blue = box_of(strip(["reference"], [Row("a", [picture], references=0)]), "blue")
    assert (blue[2] - blue[0], blue[3] - blue[1]) == (ENLARGED, ENLARGED)


def test_a_saved_strip_keeps_the_colours_of_a_few_pictures(sheet: Image.Image, tmp_path) -> None:
    save(sheet, tmp_path / "strip.png")
    saved = Image.open(tmp_path / "strip.png")
    assert saved.mode == "P"
    assert abs(np.asarray(saved.convert("RGB"), int) - np.asarray(sheet, int)).mean() < 1
