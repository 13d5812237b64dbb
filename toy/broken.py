"""Pictures that show no shape any more, in the ways in which shared pictures break, for the judge to say so.

The shape breaks and its style stays, or the picture breaks with all that is in it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from . import icons
from .icons import SIZE, Picture, Style
from .shapes import Field

TOKEN = 4  # pixels: the side of what the transformer takes as one
GRID = SIZE // TOKEN
LEAST_LEFT, MOST_LEFT = 0.3, 0.7  # of a shape, as `likeness` has it: less shows no style, more may be a shape still
LEAST_KNOWN = 0.82  # so much of a shape has to be recognised


class Broken(NamedTuple):
    images: Picture  # (count, SIZE, SIZE, 3)
    styles: list[Style | None]  # None where it broke too, or nothing shows it
    coverages: Field  # (count, SIZE, SIZE), of what is left of shapes, 0..1; not a number where the style broke too


def likeness(found: Field, shape: Field) -> float:
    """Intersection over union of what is covered by more than half, where the one lies best on the other."""
    one, other = found > 0.5, shape > 0.5
    shared = np.fft.irfft2(np.fft.rfft2(one) * np.fft.rfft2(other).conj(), s=one.shape).max()
    return float(shared / max(1, one.sum() + other.sum() - shared))


def _tokens(pixels: Field) -> Field:
    """(rows, columns, TOKEN, TOKEN, ..) of (SIZE, SIZE, ..)."""
    return pixels.reshape(GRID, TOKEN, GRID, TOKEN, *pixels.shape[2:]).swapaxes(1, 2)


def _pixels(tokens: Field) -> Field:
    return tokens.swapaxes(1, 2).reshape(SIZE, SIZE, *tokens.shape[4:])


def _permuted(rng: Generator, pixels: Field, among: NDArray[np.intp]) -> Field:
    """The tokens numbered `among` change places."""
    tokens = _tokens(pixels)
    flat = tokens.reshape(GRID**2, *tokens.shape[2:]).copy()
    flat[among] = flat[rng.permutation(among)]
    return _pixels(flat.reshape(tokens.shape))


def scuffed(rng: Generator, picture: Picture) -> Picture:
    """A few tokens change places: what it shows is still plain to see."""
    return _permuted(rng, picture, rng.choice(GRID**2, int(rng.integers(2, 5)), replace=False))


def worn(rng: Generator, shape: Field) -> Field:
    """With ragged edges, as models draw them: so much is left of it that it is to be known."""
    ragged = gaussian_filter(rng.standard_normal((SIZE, SIZE)), rng.uniform(0.3, 1.0))
    found = gaussian_filter(shape, 0.5) + rng.uniform(0.1, 0.4) * ragged / ragged.std() > 0.5
    return found.astype(np.float32) if likeness(found, shape) > LEAST_KNOWN else worn(rng, shape)


def _any_tokens(rng: Generator, share: float) -> NDArray[np.intp]:
    return np.flatnonzero(rng.random(GRID**2) < share)


def _shuffled(rng: Generator, shape: Field) -> Field:
    """Some of its tokens change places."""
    return _permuted(rng, shape, _any_tokens(rng, rng.uniform(0.2, 0.7)))


def _torn(rng: Generator, shape: Field) -> Field:
    """Some of its tokens are gone, and a few lie around."""
    kept, loose = rng.random((GRID, GRID)) > rng.uniform(0.2, 0.6), rng.random((GRID, GRID)) < rng.uniform(0, 0.08)
    whole, token = _tokens(shape), (..., None, None)
    return _pixels(np.maximum(whole * kept[token], loose[token]).astype(np.float32))


def _cut(rng: Generator, shape: Field) -> Field:
    """Cut across once or twice, and the parts moved along the cuts."""
    moved = shape.copy()
    for line in rng.choice(np.arange(8, SIZE - 8), int(rng.integers(1, 3)), replace=False):
        moved[line:] = np.roll(moved[line:], int(rng.integers(5, 10)) * int(rng.choice([-1, 1])), 1)
    return moved if rng.random() < 0.5 else moved.T


def _pieced(rng: Generator, shape: Field) -> Field:
    """Halves or quarters of it with those of another shape, and not much like that one either."""
    row, column = np.arange(SIZE)[:, None] < rng.integers(12, SIZE - 12), np.arange(SIZE) < rng.integers(12, SIZE - 12)
    other, of_other = _unlike(rng, shape), (row, column, row ^ column)[int(rng.integers(3))]
    found = np.where(of_other, other, shape)
    return found if likeness(found, other) < MOST_LEFT else _pieced(rng, shape)


def _speckled(rng: Generator, shape: Field) -> Field:
    """Specks, the more the nearer to the middle or to where the shape was."""
    row, column = np.mgrid[0:SIZE, 0:SIZE] - (SIZE - 1) / 2
    about = gaussian_filter(shape, 2) if rng.random() < 0.3 else np.exp(-(row**2 + column**2) / rng.uniform(60, 250))
    noise = gaussian_filter(rng.standard_normal((SIZE, SIZE)), rng.uniform(0.4, 1.3))
    return (noise / noise.std() + 3 * (about - 0.6) > 0).astype(np.float32)


def _placed(rng: Generator) -> Field:
    return icons.place(rng, icons.SHAPES[int(rng.integers(len(icons.SHAPES)))])


def _unlike(rng: Generator, shape: Field) -> Field:
    while True:
        other = _placed(rng)
        if likeness(other, shape) < MOST_LEFT:
            return other


def _mixed(rng: Generator, _shape: Field, picture: Picture) -> Picture:
    """Half of its tokens or more change places."""
    return _permuted(rng, picture, _any_tokens(rng, rng.uniform(0.5, 1)))


def _blended(rng: Generator, shape: Field, picture: Picture) -> Picture:
    """With another icon over it, both about as strong."""
    other, share = icons.paint(_unlike(rng, shape), icons.random_style(rng)), rng.uniform(0.4, 0.6)
    return (picture * share + other * (1 - share)).astype(np.uint8)


def _blurred(rng: Generator, _shape: Field, picture: Picture) -> Picture:
    sigma = rng.uniform(4, 6)
    return gaussian_filter(picture, (sigma, sigma, 0))


OF_SHAPES: dict[str, Callable[[Generator, Field], Field]] = {
    "shuffled": _shuffled, "torn": _torn, "cut": _cut, "pieced": _pieced, "speckled": _speckled,
}  # fmt: skip
"""Ways in which the shape breaks: the picture has one style still."""

OF_PICTURES: dict[str, Callable[[Generator, Field, Picture], Picture]] = {
    "mixed": _mixed, "blended": _blended, "blurred": _blurred,
}  # fmt: skip
"""Ways in which the style breaks too."""

EMPTY = "empty"  # a backdrop alone
KINDS = (*OF_SHAPES, *OF_PICTURES, EMPTY)


def broken_shape(rng: Generator, kind: str) -> Field:
    """A shape broken so far that less than MOST_LEFT of it is to be seen, and more than LEAST_LEFT."""
    while True:
        shape = _placed(rng)
        found = OF_SHAPES[kind](rng, shape)
        if LEAST_LEFT < likeness(found, shape) < MOST_LEFT:
            return found


def dataset(count: int, seed: int | Sequence[int], kinds: Sequence[str] = KINDS) -> Broken:
    """Broken icons, each of a random kind."""
    rng = np.random.default_rng(seed)
    every = [_draw(rng, kinds[int(rng.integers(len(kinds)))]) for _ in range(count)]
    images, styles, coverages = zip(*every, strict=True)
    return Broken(np.stack(images), list(styles), np.stack(coverages))


def _draw(rng: Generator, kind: str) -> tuple[Picture, Style | None, Field]:
    style = icons.random_style(rng)
    if kind in OF_PICTURES:
        shape = _placed(rng)
        return OF_PICTURES[kind](rng, shape, icons.paint(shape, style)), None, np.full_like(shape, np.nan)
    nothing = np.zeros((SIZE, SIZE), np.float32)
    coverage = nothing if kind == EMPTY else broken_shape(rng, kind)
    return icons.paint(coverage, style), None if kind == EMPTY else style, coverage
