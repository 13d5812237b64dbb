"""A comparison sheet: rows of pictures with the same prompts, one row below the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

PAPER, INK, FAINT, ACCENT = "#faf9f6", "#26282c", "#74777d", "#c2410c"
MARGIN, GAP = 40, 16
TITLE, HEADING, TEXT = 30, 20, 17
FRAME = 4
MAX_WIDTH = 2400  # of all pictures of a row together
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
    shown = [[fit(picture, side) for picture in row.pictures] for row in rows]
    pictures = [picture for row in shown for picture in row]
    cell_width, cell_height = (max(picture.size[axis] for picture in pictures) for axis in (0, 1))
    texts = [wrap(caption, cell_width, font(TEXT)) for caption in captions]

    heading = 2 * MARGIN + TITLE + TEXT
    row_height = HEADING + GAP + cell_height + MARGIN
    below = (TEXT + 6) * max(map(len, texts)) + MARGIN
    width = max(
        2 * MARGIN + len(captions) * (cell_width + GAP) - GAP,
        2 * MARGIN + round(max(font(TITLE).getlength(title), font(TEXT).getlength(subtitle))),
    )
    sheet = Image.new("RGB", (width, heading + len(rows) * row_height - MARGIN + GAP + below), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN - 8), title, INK, font(TITLE))
    draw.text((MARGIN, MARGIN + TITLE + 2), subtitle, FAINT, font(TEXT))
    top = heading
    for row, row_pictures in zip(rows, shown, strict=True):
        draw.text((MARGIN, top), row.heading, INK, font(HEADING))
        top += HEADING + GAP
        for column, picture in enumerate(row_pictures):
            left = MARGIN + column * (cell_width + GAP)
            sheet.paste(picture, (left + (cell_width - picture.width) // 2, top + (cell_height - picture.height) // 2))
        if row.reference:
            _mark_reference(draw, MARGIN, top, cell_width, cell_height)
        top += cell_height + MARGIN
    top += GAP - MARGIN
    for column, lines in enumerate(texts):
        left = MARGIN + column * (cell_width + GAP)
        for number, line in enumerate(lines):
            draw.text((left + cell_width / 2, top + number * (TEXT + 6)), line, INK, font(TEXT), anchor="ma")
    return sheet


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
