"""Icons with a second, smaller shape beside the first: what a picture looks like that shows its reference's too."""

from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from . import icons
from .icons import Picture, Style
from .shapes import Field

LARGER, SMALLER = (0.45, 0.6), (0.3, 0.42)  # radii, of half the picture


class Pair(NamedTuple):
    picture: Picture
    shapes: tuple[str, str]  # the larger one first
    coverage: Field  # (SIZE, SIZE), of both, 0..1
    style: Style


def draw(rng: Generator) -> Pair:
    """Two different shapes in opposite parts of a picture, in one style."""
    first, second = (str(shape) for shape in rng.permutation(icons.SHAPES)[:2])
    angle, sizes = rng.uniform(0, 2 * np.pi), (rng.uniform(*LARGER), rng.uniform(*SMALLER))
    towards, style = np.array([np.cos(angle), np.sin(angle)]), icons.random_style(rng)
    both = np.maximum(
        icons.coverage(first, -towards * (1 - sizes[0]), sizes[0]),
        icons.coverage(second, towards * (1 - sizes[1]), sizes[1]),
    )
    return Pair(icons.paint(both, style), (first, second), both, style)
