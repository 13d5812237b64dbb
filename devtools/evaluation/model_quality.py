"""Is the icon model good enough to prove anything? Its plain samples, as the judge reads them, against the data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance
from torch import Tensor
from torch.nn.functional import max_pool2d, pad

from toy import icons
from toy.judge import HEADS, oklab

SEED = 97
FLAT = 0.08  # neighbours that differ by less lie on one flat area, of 0..1; between others is an edge
BESIDE = 1  # pixels from an edge, up to which a soft edge shows rather than grain


class Samples(NamedTuple):
    captions: list[list[str]]
    labels: NDArray[np.int64]  # (rows, heads), as the judge reads them
    palettes: NDArray[np.float32]  # (rows, 3, 3), OKLab
    pictures: Tensor  # (rows, SIZE, SIZE, 3), 0..1


@dataclass(frozen=True)
class Grain:
    """Root mean square difference of neighbouring pixels on flat areas, 0..1."""

    inside: float  # farther than BESIDE from every edge
    beside_edges: float


@dataclass(frozen=True)
class Quality:
    """Shares are of 0..1; `frequencies` holds, head by head, how often each word comes out where none was named."""

    samples: int
    shape_recognised: float
    words_obeyed: float
    obeyed: dict[str, float]
    frequencies: dict[str, dict[str, float]]
    colour_distance: float  # Wasserstein, mean over OKLab's axes, of samples' palettes to the data's
    colour_distance_of_data: float  # the same between two draws of the data: the floor
    grain: Grain
    grain_of_data: Grain

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def captions(part: int, count: int) -> list[list[str]]:
    """A shape and the words of a random style, each as often as in training."""
    rng = np.random.default_rng((SEED, part))
    said = []
    for _ in range(count):
        shape, style = icons.SHAPES[int(rng.integers(len(icons.SHAPES)))], icons.random_style(rng)
        said.append([shape, *(word for word in style.words if rng.random() < icons.SAID)])
    return said


def assess(samples: Samples) -> Quality:
    named: dict[str, list[bool]] = {head: [] for head in HEADS}  # was the word obeyed?
    free: dict[str, list[int]] = {head: [] for head in HEADS}  # what came out where no word was given
    for caption, found in zip(samples.captions, samples.labels.tolist(), strict=True):
        for (head, words), label in zip(HEADS.items(), found, strict=True):
            wanted = [words.index(word) for word in caption if word in words]
            if wanted:
                named[head].append(label == wanted[0])
            else:
                free[head].append(label)
    styles = [head for head in HEADS if head != "shape"]
    data, more = (icons.dataset(len(samples.captions), seed=(SEED, draw)) for draw in (1, 2))
    return Quality(
        samples=len(samples.captions),
        shape_recognised=float(np.mean(named["shape"])),
        words_obeyed=float(np.mean([each for head in styles for each in named[head]])),
        obeyed={head: float(np.mean(named[head])) for head in styles},
        frequencies={head: _frequencies(free[head], HEADS[head]) for head in styles},
        colour_distance=_distance(samples.palettes, _oklab(data)),
        colour_distance_of_data=_distance(_oklab(more), _oklab(data)),
        grain=grain(samples.pictures),
        grain_of_data=grain(torch.from_numpy(data.images).float() / 255),
    )


def training_frequencies(count: int = 20_000) -> dict[str, dict[str, float]]:
    """How often the data shows each word of a style."""
    rng = np.random.default_rng(SEED)
    styles = [icons.random_style(rng) for _ in range(count)]
    found = {
        "pattern": [style.pattern for style in styles],
        "outline": [style.outline for style in styles],
        "backdrop": [style.backdrop for style in styles],
        "tone": [style.tone for style in styles],
    }
    return {head: _frequencies(labels, HEADS[head]) for head, labels in found.items()}


def _frequencies(labels: list[int], words: list[str]) -> dict[str, float]:
    counts = np.bincount(labels, minlength=len(words)) / max(1, len(labels))
    return dict(zip(words, counts.tolist(), strict=True))


def _oklab(data: icons.Dataset) -> NDArray[np.float32]:
    palettes: NDArray[np.float32] = oklab(torch.from_numpy(data.palettes)).numpy()
    return palettes


def _distance(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Mean over the background's and the fills' lightness, a and b."""
    background, fills = slice(0, 1), slice(1, 3)
    distances = [
        wasserstein_distance(first[:, colours, axis].ravel(), second[:, colours, axis].ravel())
        for colours in (background, fills)
        for axis in range(3)
    ]
    return float(np.mean(distances))


def grain(pictures: Tensor) -> Grain:
    """Of pictures (rows, SIZE, SIZE, 3), 0..1; a step is that of the channel which differs most."""
    down, right = (pictures.diff(dim=axis).abs().amax(-1) for axis in (1, 2))
    beside = _beside_edges(down >= FLAT, right >= FLAT)
    step = torch.cat([down.flatten(), right.flatten()])
    near = torch.cat([
        (beside[:, 1:] | beside[:, :-1]).flatten(),
        (beside[:, :, 1:] | beside[:, :, :-1]).flatten(),
    ])  # fmt: skip
    inside, beside_edges = (float(step[(step < FLAT) & where].square().mean().sqrt()) for where in (~near, near))
    return Grain(inside, beside_edges)


def _beside_edges(down: Tensor, right: Tensor) -> Tensor:
    """Which pixels (rows, SIZE, SIZE) have an edge to a neighbour, or are BESIDE one that has.

    down: (rows, SIZE - 1, SIZE), whether an edge is between a pixel and the one below it; right: likewise.
    """
    edge = pad(down, (0, 0, 0, 1)) | pad(down, (0, 0, 1, 0)) | pad(right, (0, 1)) | pad(right, (1, 0))
    return max_pool2d(edge.float()[:, None], 2 * BESIDE + 1, stride=1, padding=BESIDE)[:, 0] > 0
