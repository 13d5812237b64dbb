"""The comparison sheet's layout."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageColor

from devtools.pictures.comparison_sheet import ACCENT, CELL, GAP, MARGIN, PAPER, Row, comparison, fit, font, wrap

PAPER_COLOUR, ACCENT_COLOUR = ImageColor.getrgb(PAPER), ImageColor.getrgb(ACCENT)


def picture(colour: str, width: int = 32, height: int = 32) -> Image.Image:
    return Image.new("RGB", (width, height), colour)


def bounds(sheet: Image.Image, colour: str) -> tuple[int, int, int, int]:
    """The box around all pixels of a colour: left, top, right, bottom, the last two exclusive."""
    wanted = ImageColor.getrgb(colour)
    pixels = np.asarray(sheet)
    box = Image.fromarray((pixels == wanted).all(-1)).getbbox()
    assert box is not None
    return box


def test_pictures_stand_in_columns_and_rows() -> None:
    rows = [
        Row("above", [picture("red"), picture("lime")]),
        Row("below", [picture("blue"), picture("yellow")], reference=True),
    ]
    sheet = comparison("Title", "about it", rows, ["one", "two"])
    red, lime, blue, yellow = (bounds(sheet, colour) for colour in ("red", "lime", "blue", "yellow"))
    for box in (red, lime, yellow):
        assert (box[2] - box[0], box[3] - box[1]) == (CELL, CELL)
    assert red[0] == MARGIN
    assert lime[0] - red[2] == GAP
    assert red[1] == lime[1]
    assert yellow[0] == lime[0]
    assert yellow[1] > lime[3]
    assert blue[2:] == (red[2], yellow[3])
    assert sheet.width - lime[2] == MARGIN
    assert sheet.getpixel((2, 2)) == PAPER_COLOUR


def test_only_the_reference_is_framed() -> None:
    rows = [Row("above", [picture("red"), picture("lime")]), Row("below", [picture("blue")] * 2, reference=True)]
    sheet = comparison("Title", "about it", rows, ["one", "two"])
    blue, frame = bounds(sheet, "blue"), bounds(sheet, ACCENT)
    assert frame[1] > bounds(sheet, "red")[3]
    assert frame[0] < MARGIN
    assert frame[2] < MARGIN + CELL + GAP
    assert frame[3] > blue[3]


@pytest.mark.parametrize(
    ("size", "expected"),
    [((32, 32), (256, 256)), ((32, 48), (160, 240)), ((128, 128), (256, 256)), ((1024, 512), (256, 128))],
)
def test_fit(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fit(picture("red", *size), 256).size == expected


def test_small_pictures_stay_crisp() -> None:
    icon = Image.new("RGB", (2, 1), "red")
    icon.putpixel((1, 0), (0, 0, 255))
    large = fit(icon, 256)
    assert sorted(large.getcolors() or []) == [(128 * 128, (0, 0, 255)), (128 * 128, (255, 0, 0))]


def test_many_large_pictures_share_the_width() -> None:
    sheet = comparison("Title", "", [Row("row", [picture("red", 512, 512)] * 24)], ["prompt"] * 24)
    assert sheet.width < 2 * MARGIN + 24 * (100 + GAP)


def test_captions_are_wrapped_and_cut() -> None:
    face = font(16)
    lines = wrap("a very long prompt about a mushroom " * 5, 120, face, most=2)
    assert len(lines) == 2
    assert lines[-1].endswith("…")
    assert max(face.getlength(line) for line in lines) <= 120
    assert wrap("Donaudampfschifffahrtsgesellschaft", 60, face)[0].endswith("…")
    assert wrap("star", 120, face) == ["star"]
    assert wrap("", 120, face) == [""]
