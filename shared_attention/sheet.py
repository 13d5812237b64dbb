"""What the sheets of the nodes that show numbers have in common: colours, type, and pictures in cells."""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

PAPER, INK, FAINT, ACCENT, WARNING = "#faf9f6", "#26282c", "#74777d", "#c2410c", "#7c3aed"
CELL = 176  # the longer side of a picture, in pixels
COLUMNS = 8  # pictures beside each other, after which the row wraps
MARGIN, GAP, FRAME = 24, 18, 4
TITLE, TEXT = 22, 15  # type sizes
LINE = TEXT + 6

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def draw_picture(sheet: Image.Image, picture: Tensor, left: int, top: int, colour: str | None) -> None:
    """In the middle of a square of CELL pixels, with a frame of `colour`."""
    shown = Image.fromarray((picture * 255).round().byte().numpy())
    scale = CELL / max(shown.size)
    size = (max(1, round(shown.width * scale)), max(1, round(shown.height * scale)))
    sharp = Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.LANCZOS
    left, top = left + (CELL - size[0]) // 2, top + (CELL - size[1]) // 2
    if colour:
        box = (left - FRAME, top - FRAME, left + size[0] + FRAME - 1, top + size[1] + FRAME - 1)
        ImageDraw.Draw(sheet).rectangle(box, fill=colour)
    sheet.paste(shown.resize(size, sharp), (left, top))


def wrapped(text: str, width: int, face: Font) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and face.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def font(size: int) -> Font:
    return ImageFont.load_default(size)
