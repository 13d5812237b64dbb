"""Pixel-art icons: a *shape*, which a caption names, drawn in a *style*, which a caption may leave to the painter.

The split is what makes these pictures useful for style alignment. A shape is content: a set of icons has a different
one in each picture. A style is everything else - colours, fill pattern, outline, background - and captions mention each
part of it only now and then. A model trained on them has to invent most of a style, so a set made without sharing
comes out in many styles, and one made with sharing should come out in one.

Pictures are `uint8 (height, width, channel)` arrays of `SIZE` pixels a side; the same seed draws the same pictures.
"""

import colorsys
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from .shapes import FIELD_OF, Field

Colour = NDArray[np.float32]  # (3,), red, green and blue in 0..1
Picture = NDArray[np.uint8]  # (SIZE, SIZE, 3)

SIZE = 32
SAMPLES = 2  # a pixel's coverage is the mean over SAMPLES x SAMPLES points, so that edges are soft

SHAPES = list(FIELD_OF)
PATTERNS = ["plain", "striped", "barred", "diagonal", "checkered"]
OUTLINES = ["borderless", "inked", "chalked"]
BACKDROPS = ["flat", "gradient", "dotted", "framed"]
TONES = ["dark", "bright"]

START, END = "<start>", "<end>"
VOCABULARY = [START, END, *SHAPES, *PATTERNS, *OUTLINES, *BACKDROPS, *TONES]
TOKEN_OF = {word: token for token, word in enumerate(VOCABULARY)}
CONTEXT_LENGTH = 12
SAID = 0.4  # how often a caption says a word of its style

FRAME = 3  # pixels
BAND = 4  # pixels, of a fill pattern: whole tokens of a UNet that halves the picture once or twice
OUTLINE = 2  # pixels
LINES = {"inked": 0.03, "chalked": 0.97}


@dataclass(frozen=True)
class Style:
    """Everything about an icon but its shape; `pattern`, `outline` and `backdrop` index the lists above."""

    background: Colour
    fill: Colour
    second: Colour  # the fill pattern's other colour
    pattern: int
    outline: int
    backdrop: int

    @property
    def words(self) -> list[str]:
        """The words a caption can say about this style."""
        return [PATTERNS[self.pattern], OUTLINES[self.outline], BACKDROPS[self.backdrop], TONES[self.tone]]

    @property
    def tone(self) -> int:
        """Indexes TONES."""
        return int(self.background.mean() > 0.5)

    @property
    def palette(self) -> Field:
        """The colours that show: (3, 3), background, fill and second, which is the fill where the pattern is plain."""
        second = self.fill if PATTERNS[self.pattern] == "plain" else self.second
        return np.stack([self.background, self.fill, second])


class Dataset(NamedTuple):
    images: Picture  # (count, SIZE, SIZE, 3)
    tokens: NDArray[np.int64]  # (count, CONTEXT_LENGTH)
    labels: NDArray[np.int64]  # (count, 5): shape, pattern, outline, backdrop, tone
    palettes: Field  # (count, 3, 3): background, fill, second colour; the fill again where the pattern is plain
    coverages: Field  # (count, SIZE, SIZE): how much of each pixel the shape covers, 0..1


def random_colour(
    rng: Generator, saturation: tuple[float, float] = (0.35, 1.0), value: tuple[float, float] = (0.25, 1.0)
) -> Colour:
    return np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value)), np.float32)


def random_style(rng: Generator) -> Style:
    """Any style whose every part can be seen: its words must be as plain to a viewer as to the caption."""
    pattern, outline, backdrop = (int(rng.integers(len(kinds))) for kinds in (PATTERNS, OUTLINES, BACKDROPS))
    while True:
        background = random_colour(rng, saturation=(0.1, 0.9), value=(0.25, 1.0))
        fill, second = (random_colour(rng, saturation=(0.4, 1.0), value=(0.3, 1.0)) for _ in range(2))
        if _can_be_told_apart(background, fill, second) and _shows(OUTLINES[outline], background):
            break
    if PATTERNS[pattern] != "plain" and fill.mean() < second.mean():
        # The lighter band comes first, always. In either order a pattern would be grey on average: no more than a
        # hint in the noise, which a small model is slow to learn.
        fill, second = second, fill
    return Style(background, fill, second, pattern, outline, backdrop)


def _can_be_told_apart(background: Colour, fill: Colour, second: Colour) -> bool:
    """The colours from each other and from an ink outline, and a dark background from a bright one."""
    return bool(
        min(abs(background - fill).sum(), abs(background - second).sum()) > 0.6
        and abs(fill.mean() - second.mean()) > 0.2
        and min(fill.mean(), second.mean()) > 0.18
        and abs(background.mean() - 0.5) > 0.05
    )


def _shows(outline: str, background: Colour) -> bool:
    """Whether an outline stands out from the background, which lies around it.

    Fainter ones are lost in a sampler's noise: a small model then draws none, and far fewer than it was shown.
    """
    return outline == "borderless" or bool(abs(background - LINES[outline]).sum() > 0.9)


def draw(rng: Generator, shape: str, style: Style) -> Picture:
    """One icon, placed as `place` does."""
    return paint(place(rng, shape), style)


def place(rng: Generator, shape: str) -> Field:
    """How much of each pixel a shape covers, 0..1: somewhere about the middle and not always equally large."""
    return coverage(shape, centre=rng.uniform(-0.12, 0.12, 2), radius=rng.uniform(0.62, 0.8))


def paint(coverage: Field, style: Style) -> Picture:
    """An icon of the shape that covers so much of each pixel, 0..1."""
    if BACKDROPS[style.backdrop] == "framed":
        coverage = np.maximum(coverage, _frame())
    soft = coverage[..., None]
    image = _backdrop(style) * (1 - soft) + _fill(style) * soft
    if OUTLINES[style.outline] != "borderless":
        image[_outline(coverage > 0.5)] = LINES[OUTLINES[style.outline]]
    return (image.clip(0, 1) * 255).astype(np.uint8)


def coverage(shape: str, centre: NDArray[np.float64], radius: float) -> Field:
    """How much of each pixel the shape covers, 0..1."""
    if shape not in FIELD_OF:
        raise ValueError(f"unknown shape {shape!r}; the shapes are {', '.join(SHAPES)}")
    y, x = np.mgrid[0 : SAMPLES * SIZE, 0 : SAMPLES * SIZE].astype(np.float32)
    x, y = ((axis + 0.5) * 2 / (SAMPLES * SIZE) - 1 for axis in (x, y))  # -1..1, y points down
    inside = FIELD_OF[shape]((x - centre[0]) / radius, (y - centre[1]) / radius) > 0
    return inside.astype(np.float32).reshape(SIZE, SAMPLES, SIZE, SAMPLES).mean((1, 3))


def _backdrop(style: Style) -> Field:
    image = np.broadcast_to(style.background, (SIZE, SIZE, 3)).copy()
    row, column = np.mgrid[0:SIZE, 0:SIZE]
    match BACKDROPS[style.backdrop]:
        case "gradient":
            image *= (1 - 0.35 * (row / SIZE))[..., None]
        case "dotted":
            dots = (column % 8 < 2) & (row % 8 < 2)
            image[dots] = image[dots] * 0.6 + 0.4 * (1 - image[dots].round())
    return image


def _frame() -> Field:
    """The picture's edge, which a framed icon fills as it fills its shape."""
    frame = np.ones((SIZE, SIZE), np.float32)
    frame[FRAME:-FRAME, FRAME:-FRAME] = 0
    return frame


def _fill(style: Style) -> Field:
    row, column = np.mgrid[0:SIZE, 0:SIZE]
    match PATTERNS[style.pattern]:
        case "striped":
            band = row // BAND
        case "barred":
            band = column // BAND
        case "diagonal":
            band = (column + row) // BAND
        case "checkered":
            band = column // BAND + row // BAND
        case _:
            band = np.zeros_like(row)
    return np.where(band[..., None] % 2, style.second, style.fill)


def _outline(body: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels outside of a body that are OUTLINE or fewer steps up, down, left or right away from it.

    Outside, since an outline within would leave nothing of the fill in a sun's rays.
    """
    grown = body
    for _ in range(OUTLINE):
        padded = np.pad(grown, 1)
        grown = grown | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return grown & ~body


def random_caption(rng: Generator, shape: str, style: Style) -> list[str]:
    """Nearly always the shape, and each of the style's words as often as SAID, in any order."""
    said = [word for word in style.words if rng.random() < SAID]
    rng.shuffle(said)
    return ([shape] if rng.random() < 0.95 else []) + said


def words(text: str) -> list[str]:
    """The words of a text that the vocabulary has; others are dropped, as is everything that is not a letter."""
    return [word for word in re.findall("[a-z]+", text.lower()) if word in TOKEN_OF]


def token_ids(caption: list[str]) -> list[int]:
    """One text encoder input: start, as many of the caption's known words as fit, end, and end again as padding."""
    known = [TOKEN_OF[word] for word in caption if word in TOKEN_OF][: CONTEXT_LENGTH - 2]
    return [TOKEN_OF[START], *known] + [TOKEN_OF[END]] * (CONTEXT_LENGTH - 1 - len(known))


def dataset(
    count: int,
    seed: int | Sequence[int],
    shapes: Sequence[str] = SHAPES,
    placed: Callable[[Generator, str], Field] = place,
) -> Dataset:
    """Random icons with their captions, and labels to check a model's output against.

    A name that is twice among the shapes is drawn twice as often. placed: gives how much of each pixel a shape covers.
    """
    rng = np.random.default_rng(seed)
    data = Dataset(
        images=np.empty((count, SIZE, SIZE, 3), np.uint8),
        tokens=np.empty((count, CONTEXT_LENGTH), np.int64),
        labels=np.empty((count, 5), np.int64),
        palettes=np.empty((count, 3, 3), np.float32),
        coverages=np.empty((count, SIZE, SIZE), np.float32),
    )
    for i in range(count):
        shape, style = shapes[int(rng.integers(len(shapes)))], random_style(rng)
        data.coverages[i] = placed(rng, shape)
        data.images[i] = paint(data.coverages[i], style)
        data.tokens[i] = token_ids(random_caption(rng, shape, style))
        data.labels[i] = SHAPES.index(shape), style.pattern, style.outline, style.backdrop, style.tone
        data.palettes[i] = style.palette
    return data
