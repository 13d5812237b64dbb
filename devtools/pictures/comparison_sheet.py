"""A comparison sheet: rows of pictures with the same prompts, one row below the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from PIL import Image, ImageDraw, ImageFont

PAPER, INK, FAINT, ACCENT = "#faf9f6", "#26282c", "#74777d", "#c2410c"
MARGIN, GAP = 40, 16
TITLE, HEADING, TEXT = 30, 20, 17  # type sizes
LINE = TEXT + 6
FRAME = 4
MAX_WIDTH = 2400  # of all pictures of a row together
MIN_WIDTH = 600
CELL = 256  # pictures are shown about as large as this
CAPTION_LINES = 3

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Row:
    """Pictures under a heading; the first is framed as the reference if `reference` is set."""

    heading: str
    pictures: Sequence[Image.Image]
    reference: bool = False


def comparison(title: str, subtitle: str, rows: Sequence[Row], captions: Sequence[str]) -> Image.Image:
    """The sheet: a heading above each row, the captions below the last, as all rows share them."""
    side = min(CELL, MAX_WIDTH // max(1, len(captions)))
    rows = [replace(row, pictures=[fit(picture, side) for picture in row.pictures]) for row in rows]
    sizes = [picture.size for row in rows for picture in row.pictures]
    cell = (max(width for width, _ in sizes), max(height for _, height in sizes))
    texts = [wrap(caption, cell[0], font(TEXT)) for caption in captions]

    header = 2 * MARGIN + TITLE + TEXT
    row_height = HEADING + GAP + cell[1] + MARGIN
    below = LINE * max(map(len, texts)) + MARGIN
    width = max(MIN_WIDTH, 2 * MARGIN + len(captions) * (cell[0] + GAP) - GAP)
    sheet = Image.new("RGB", (width, header + len(rows) * row_height - MARGIN + GAP + below), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN - 8), title, INK, font(TITLE))
    draw.text((MARGIN, MARGIN + TITLE + 2), wrap(subtitle, width - 2 * MARGIN, font(TEXT), 1)[0], FAINT, font(TEXT))
    for number, row in enumerate(rows):
        _draw_row(sheet, row, header + number * row_height, cell)
    for column, lines in enumerate(texts):
        centre = MARGIN + column * (cell[0] + GAP) + cell[0] / 2
        for number, line in enumerate(lines):
            draw.text((centre, sheet.height - below + number * LINE), line, INK, font(TEXT), anchor="ma")
    return sheet


def _draw_row(sheet: Image.Image, row: Row, top: int, cell: tuple[int, int]) -> None:
    """A heading at `top`, and below it each picture in the middle of its cell."""
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, top), row.heading, INK, font(HEADING))
    top += HEADING + GAP
    for column, picture in enumerate(row.pictures):
        left = MARGIN + column * (cell[0] + GAP)
        sheet.paste(picture, (left + (cell[0] - picture.width) // 2, top + (cell[1] - picture.height) // 2))
    if row.reference:
        _mark_reference(draw, MARGIN, top, *cell)


def fit(picture: Image.Image, side: int) -> Image.Image:
    """The picture at about `side` pixels: small ones enlarged by a whole factor, so that their pixels stay crisp."""
    picture = picture.convert("RGB")
    longest = max(picture.size)
    if longest * 2 <= side:
        factor = side // longest
        return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    width, height = (max(1, round(extent * side / longest)) for extent in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def wrap(text: str, width: int, with_font: Font, most: int = CAPTION_LINES) -> list[str]:
    """The text in lines of at most `width` pixels, cut with an ellipsis after `most` lines."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and with_font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    cut = [_shorten(line, width, with_font) for line in lines[:most]]
    if len(lines) > most:
        cut[-1] = _shorten(cut[-1] + "…", width, with_font)
    return cut or [""]


def _shorten(line: str, width: int, with_font: Font) -> str:
    shown = line
    while with_font.getlength(shown) > width and len(shown) > 1:
        line = line.rstrip("…")[:-1]
        shown = line + "…"
    return shown


def font(size: int) -> Font:
    return ImageFont.load_default(size)


def _mark_reference(draw: ImageDraw.ImageDraw, left: int, top: int, width: int, height: int) -> None:
    """A frame around a picture, with the word on a tab in its corner."""
    box = (left - FRAME, top - FRAME, left + width + FRAME - 1, top + height + FRAME - 1)
    draw.rectangle(box, outline=ACCENT, width=FRAME)
    word = "reference"
    tab = font(TEXT).getlength(word) + 14
    draw.rectangle((left, top, left + tab, top + TEXT + 8), fill=ACCENT)
    draw.text((left + 6, top + 1), word, "white", font(TEXT))
