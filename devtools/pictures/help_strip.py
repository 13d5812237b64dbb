"""A strip for a help page: rows of small pictures, each under the setting it was made with, the reference marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from devtools.pictures.comparison_sheet import ACCENT, FAINT, INK, PAPER, font

ENLARGED = 3  # whole, so that pixels stay crisp
MARGIN, GAP, FRAME = 12, 10, 3
TEXT = 14  # type size
LINE = TEXT + 8


@dataclass(frozen=True)
class Row:
    """Pictures under a heading, so many of which, from the first on, are references."""

    heading: str
    pictures: Sequence[Image.Image]
    references: int = 1


def strip(columns: Sequence[str], rows: Sequence[Row]) -> Image.Image:
    """The rows below each other, and above them what each column shows; the first columns have the references."""
    width, height = (side * ENLARGED for side in rows[0].pictures[0].size)
    references = max(1, *(row.references for row in rows))
    row_height = LINE + height + GAP
    size = (2 * MARGIN + len(columns) * (width + GAP) - GAP, 2 * MARGIN + LINE + len(rows) * row_height - GAP)
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(columns):
        draw.text(
            (MARGIN + column * (width + GAP), MARGIN), title, ACCENT if column < references else FAINT, font(TEXT)
        )
    for number, row in enumerate(rows):
        top = MARGIN + LINE + number * row_height
        draw.text((MARGIN, top), row.heading, INK, font(TEXT))
        for column, picture in enumerate(row.pictures):
            large = picture.resize((width, height), Image.Resampling.NEAREST)
            sheet.paste(large, (MARGIN + column * (width + GAP), top + LINE))
        for column in range(row.references):
            _mark_reference(draw, MARGIN + column * (width + GAP), top + LINE, width, height)
    return sheet


def _mark_reference(draw: ImageDraw.ImageDraw, left: int, top: int, width: int, height: int) -> None:
    box = (left - FRAME, top - FRAME, left + width + FRAME - 1, top + height + FRAME - 1)
    draw.rectangle(box, outline=ACCENT, width=FRAME)


def save(picture: Image.Image, path: Path) -> None:
    """As a PNG of at most 256 colours: small, and as good as the original where pictures are small and few."""
    reduced = picture.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    reduced.save(path, optimize=True)
