"""The report as a picture: the means, and below them each set's pictures with their numbers."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..sheet import (
    ACCENT,
    CELL,
    COLUMNS,
    FAINT,
    GAP,
    INK,
    LINE,
    MARGIN,
    PAPER,
    TEXT,
    TITLE,
    WARNING,
    draw_picture,
    font,
    wrapped,
)
from .measure import Measured
from .wording import falls_out, number, rows_of_means

_MEASURE, _VALUE, _MEANING = 84, 130, 290  # widths of the columns of means


def drawn(sets: list[Measured]) -> Tensor:
    """The picture of one set's report, or of two's: (1, height, width, 3), sRGB of 0..1."""
    columns = min(COLUMNS, max(len(each.names) for each in sets))
    width = max(2 * MARGIN + columns * (CELL + GAP) - GAP, 2 * MARGIN + _MEASURE + len(sets) * _VALUE + _MEANING)
    above = 2 * MARGIN + TITLE + (1 + len(rows_of_means(sets))) * LINE + GAP
    height = above + sum(_set_height(each, columns, width) for each in sets)
    sheet = Image.new("RGB", (width, height), PAPER)
    _draw_means(ImageDraw.Draw(sheet), sets)
    top = above
    for each in sets:
        _draw_set(sheet, each, top, columns)
        top += _set_height(each, columns, width)
    return torch.from_numpy(np.array(sheet, np.float32) / 255)[None]


def _draw_means(draw: ImageDraw.ImageDraw, sets: list[Measured]) -> None:
    draw.text((MARGIN, MARGIN), "Style Aligned: Report", INK, font(TITLE))
    top = 2 * MARGIN + TITLE - 8
    draw.text((MARGIN, top), "mean", FAINT, font(TEXT))
    for column, each in enumerate(sets):
        right = MARGIN + _MEASURE + (column + 1) * _VALUE - 20
        draw.text((right, top), each.title, FAINT, font(TEXT), anchor="ra")
    for row, (name, meaning, values) in enumerate(rows_of_means(sets), 1):
        line = top + row * LINE
        draw.text((MARGIN, line), name, INK, font(TEXT))
        for column, value in enumerate(values):
            draw.text((MARGIN + _MEASURE + (column + 1) * _VALUE - 20, line), value, INK, font(TEXT), anchor="ra")
        draw.text((MARGIN + _MEASURE + len(sets) * _VALUE, line), meaning, FAINT, font(TEXT))


def _draw_set(sheet: Image.Image, of_set: Measured, top: int, columns: int) -> None:
    draw = ImageDraw.Draw(sheet)
    fallen = {name for name, _, _ in of_set.fallen_out()}
    draw.text((MARGIN, top), of_set.title, INK, font(TITLE))
    for line in wrapped(falls_out(of_set), sheet.width - 2 * MARGIN, font(TEXT)):
        top += LINE
        draw.text((MARGIN, top + 6), line, WARNING if fallen else FAINT, font(TEXT))
    top += LINE + GAP
    for place, (name, picture) in enumerate(zip(of_set.names, of_set.pictures, strict=True)):
        left = MARGIN + (place % columns) * (CELL + GAP)
        y = top + (place // columns) * _cell_height(of_set)
        colour = ACCENT if place == 0 else WARNING if name in fallen else None
        draw_picture(sheet, picture, left, y, colour)
        draw.text((left, y + CELL + 8), name, colour or INK, font(TEXT))
        for row, (label, value) in enumerate(_numbers(of_set, place), 1):
            below = y + CELL + 8 + row * LINE
            draw.text((left, below), label, FAINT, font(TEXT))
            draw.text((left + CELL, below), value, INK, font(TEXT), anchor="ra")


def _numbers(of_set: Measured, place: int) -> list[tuple[str, str]]:
    """What stands below a picture: its measures against the reference, and its contrast."""
    measured = [(each.name, number(each.table[0, place]) if place else "") for each in of_set.measures]
    return [*((label, value) for label, value in measured if value), ("contrast", number(of_set.contrasts[place]))]


def _set_height(of_set: Measured, columns: int, width: int) -> int:
    lines = len(wrapped(falls_out(of_set), width - 2 * MARGIN, font(TEXT)))
    return (lines + 1) * LINE + GAP + -(-len(of_set.names) // columns) * _cell_height(of_set) + GAP


def _cell_height(of_set: Measured) -> int:
    return CELL + 8 + (2 + len(of_set.measures)) * LINE + GAP
