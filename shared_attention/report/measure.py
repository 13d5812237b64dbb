"""The measures of a set: between all its pictures, the reference first."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from . import composition, palette, texture, vision
from .oklab import NOTICEABLE, oklab
from .outlier import Outlier, outlier
from .pictures import resized
from .vision import Seen

See = Callable[[list[Tensor]], list[Seen]]
"""Reads pictures, (height, width, 3) each, with a vision model."""


class Measure(NamedTuple):
    """One measure of all pairs of a set's pictures: `table` (pictures, pictures)."""

    name: str
    meaning: str
    table: Tensor
    fallen_out: Outlier | None = None

    def to_reference(self) -> Tensor:
        """Of the pictures after the reference: (pictures - 1,)."""
        return self.table[0, 1:]

    def between(self) -> Tensor:
        """Of all pairs without the reference: (pairs,); empty if there is only one more picture."""
        others = self.table[1:, 1:]
        rows, columns = torch.triu_indices(len(others), len(others), 1)
        return others[rows, columns]


class Measured(NamedTuple):
    """A set: its pictures (height, width, 3) with their names, the reference first, and what was measured."""

    title: str
    names: list[str]
    pictures: list[Tensor]
    contrasts: Tensor  # (pictures,), units of L
    measures: list[Measure]

    def fallen_out(self) -> list[tuple[str, str, Outlier]]:
        """The name of each picture that falls out, and by which measure."""
        return [
            (self.names[each.fallen_out.place], each.name, each.fallen_out) for each in self.measures if each.fallen_out
        ]


def measure(title: str, images: Tensor, reference: Tensor | None, see: See | None = None) -> Measured:
    """Measure `images` (rows, height, width, 3), of 0..1, against `reference` (1, height, width, 3) or their first.

    title: the input's name, for errors too. Raises ValueError if there is nothing to compare.
    """
    if reference is None and len(images) < 2:
        raise ValueError(
            f"{title} has one picture and there is no reference to compare it with. Connect a set of two or more, the "
            "first of which is the reference, or connect the reference's picture to reference."
        )
    if reference is not None and len(reference) != 1:
        raise ValueError(f"reference has {len(reference)} pictures; give one. ImageFromBatch picks it from a batch.")
    pictures, names = list(images), [str(number + 1) for number in range(len(images))]
    if reference is None:
        names[0] = "1 (reference)"
    else:
        pictures, names = [reference[0], *pictures], ["reference", *names]
    return _measured(title, names, pictures, see)


def _measured(title: str, names: list[str], pictures: list[Tensor], see: See | None) -> Measured:
    lightness = [oklab(_at_base(picture))[..., 0] for picture in pictures]
    coarse = [oklab(resized(picture, composition.GRID, composition.GRID)) for picture in pictures]
    colours = palette.distances(torch.stack([palette.palette(picture) for picture in pictures]))
    detail = texture.distances(torch.stack([texture.texture(each) for each in lightness]))
    layout = composition.correlations(torch.stack([composition.composition(each) for each in coarse]))
    measures = [
        Measure("palette", "distance in OKLab; 0.02 is just noticed", colours, outlier(colours, NOTICEABLE)),
        Measure("texture", "distance in doublings of detail", detail, outlier(detail, 0.25)),
        Measure("copying", "correlation; 1 is the same layout", layout),
    ]
    if see is not None:
        seen = see(pictures)
        style = vision.style_similarities(seen)
        measures += [
            Measure("style", "cosine, by the vision model", style, outlier(1 - style, 0.02)),
            Measure("content", "cosine, by the vision model", vision.content_similarities(seen)),
        ]
    contrasts = torch.stack([texture.contrast(each) for each in lightness])
    return Measured(title, names, pictures, contrasts, measures)


def _at_base(picture: Tensor) -> Tensor:
    """At the size in which texture is measured: the longer side has texture.BASE pixels."""
    height, width = picture.shape[:2]
    scale = texture.BASE / max(height, width)
    return resized(picture, max(1, round(height * scale)), max(1, round(width * scale)))
