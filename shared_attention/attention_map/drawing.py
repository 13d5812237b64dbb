"""Where targets look, as one picture: a column for each, its picture, the mass on the references, and where it went."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn.functional import interpolate

from ..sheet import CELL, FAINT, GAP, INK, LINE, MARGIN, PAPER, TEXT, TITLE, draw_picture, font, wrapped
from .colours import coloured
from .showing import Shown

_SCALE_WIDTH, _SCALE_TEXT = 14, 64
_NARROWEST = 0.1  # range of a scale of shares
_GREY = 0.35  # how bright a picture is below its heat map
_WEIGHTS = (0.2126, 0.7152, 0.0722)  # of red, green and blue in a grey


def drawn(shown: Shown, about: str) -> Tensor:
    """(1, height, width, 3), sRGB of 0..1; about: what the numbers are."""
    width = 2 * MARGIN + len(shown.columns) * (CELL + GAP) + _SCALE_WIDTH + _SCALE_TEXT
    title = wrapped(about, width - 2 * MARGIN, font(TEXT))
    rows = 2 + len(shown.references)
    sheet = Image.new("RGB", (width, 3 * MARGIN + TITLE + len(title) * LINE + rows * _row_height()), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), "Style Aligned: Attention Map", INK, font(TITLE))
    for number, line in enumerate(title):
        draw.text((MARGIN, MARGIN + TITLE + 8 + number * LINE), line, FAINT, font(TEXT))
    top = 2 * MARGIN + TITLE + len(title) * LINE
    _draw_row(sheet, top, "the images", [each.picture for each in shown.columns], [each.name for each in shown.columns])
    top += _row_height()
    masses = [each.mass.sum(0) for each in shown.columns]
    least, most = _range(masses)
    pairs = zip(shown.columns, masses, strict=True)
    heats = [_over(each.picture, (mass - least) / (most - least), each.asked) for each, mass in pairs]
    means = [f"{float(each.mean()):.1%}" for each in masses]
    _draw_row(sheet, top, "their attention that goes to the reference", heats, means)
    _draw_scale(sheet, top, f"{most:.0%}", f"{least:.0%}")
    for number, picture in enumerate(shown.references):
        top += _row_height()
        _draw_reference(sheet, top, shown, number, picture)
    return torch.from_numpy(np.array(sheet, np.float32) / 255)[None]


def _range(masses: Sequence[Tensor]) -> tuple[float, float]:
    """From the least of them to the most, in whole hundredths; not so narrow that like ones look unlike."""
    least = math.floor(100 * min(float(each.min()) for each in masses)) / 100
    most = math.ceil(100 * max(float(each.max()) for each in masses)) / 100
    missing = max(0.0, _NARROWEST - (most - least)) / 2
    least = max(0.0, min(least - missing, 1.0 - _NARROWEST))
    return least, min(1.0, max(most + missing, least + _NARROWEST))


def _draw_reference(sheet: Image.Image, top: int, shown: Shown, number: int, picture: Tensor | None) -> None:
    """How much more or less than evenly each field of a reference is looked at."""
    fields = [each.fields[number] for each in shown.columns]
    relative = [each / each.mean().clamp_min(1e-12) for each in fields]
    most = max(2.0, *(float(each.max()) for each in relative))
    ground = torch.full((CELL, CELL, 3), 0.5) if picture is None else picture
    heats = [_over(ground, each / most) for each in relative]
    totals = [f"{float(each.sum()):.1%}" for each in fields]
    called = f"reference {number + 1}" if len(shown.references) > 1 else "the reference"
    _draw_row(sheet, top, f"where on {called} {shown.question}", heats, totals)
    _draw_scale(sheet, top, f"{most:.1f} x", "0", 1 / most)


def _draw_row(sheet: Image.Image, top: int, title: str, pictures: Sequence[Tensor], below: Sequence[str]) -> None:
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, top), title, INK, font(TEXT))
    for place, (picture, text) in enumerate(zip(pictures, below, strict=True)):
        left = MARGIN + place * (CELL + GAP)
        draw_picture(sheet, picture, left, top + LINE + 4, None)
        draw.text((left, top + LINE + CELL + 10), text, FAINT, font(TEXT))


def _draw_scale(sheet: Image.Image, top: int, most: str, least: str, even: float | None = None) -> None:
    """Right of a row; even: where on the scale an even share is, marked."""
    left, top = sheet.width - MARGIN - _SCALE_WIDTH - _SCALE_TEXT, top + LINE + 4
    bar = coloured(torch.linspace(1, 0, CELL))[:, None].expand(-1, _SCALE_WIDTH, -1)
    sheet.paste(Image.fromarray((bar * 255).round().byte().numpy()), (left, top))
    draw = ImageDraw.Draw(sheet)
    texts = [(0.0, most), (1.0, least), *([(1 - even, "even")] if even is not None else [])]
    for place, text in texts:
        y = top + round(place * (CELL - 1))
        draw.line((left + _SCALE_WIDTH, y, left + _SCALE_WIDTH + 4, y), INK)
        draw.text((left + _SCALE_WIDTH + 7, y), text, INK, font(TEXT), anchor="lm")


def _over(picture: Tensor, heat: Tensor, asked: Tensor | None = None) -> Tensor:
    """A heat map (rows, columns) of 0..1 over a picture (height, width, 3); asked: a part that is outlined."""
    height, width = picture.shape[:2]
    enlarged = max(1, math.ceil(CELL / max(height, width)))  # of small pictures the map is finer than their pixels
    size = (height * enlarged, width * enlarged)
    values = interpolate(heat[None, None], size, mode="bicubic" if min(heat.shape) > 1 else "nearest")[0, 0].clamp(0, 1)
    grey = (picture @ picture.new_tensor(_WEIGHTS)).repeat_interleave(enlarged, 0).repeat_interleave(enlarged, 1)
    heated = torch.lerp((_GREY * grey)[..., None].expand(-1, -1, 3), coloured(values), 0.8)
    return heated if asked is None else _outlined(heated, asked)


def _outlined(picture: Tensor, asked: Tensor) -> Tensor:
    """With the border of where `asked` is above a half."""
    inside = interpolate(asked[None, None].float(), tuple(picture.shape[:2]), mode="nearest")[0, 0] > 0.5
    border = torch.zeros_like(inside)
    border[1:] |= inside[1:] != inside[:-1]
    border[:, 1:] |= inside[:, 1:] != inside[:, :-1]
    return torch.where(border[..., None], torch.tensor([1.0, 1.0, 1.0]), picture)


def _row_height() -> int:
    return CELL + 2 * LINE + 10 + GAP
