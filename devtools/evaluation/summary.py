"""From what was read in the pictures to numbers: one value a set, and a mean with its confidence interval a variant."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from devtools.evaluation.readings import Reading
from devtools.evaluation.sets import Plan
from toy import icons
from toy.judge import HEADS, NONE, palette_distances

Values = NDArray[np.float64]  # one number a set

SHAPE = list(HEADS).index("shape")
STYLE_HEADS = ("pattern", "outline", "backdrop")
CHANCE = {head: 1 / len(HEADS[head]) for head in STYLE_HEADS}
COPIED = ("leakage", "copying", "overlap", "seconds", "duplicates")
Z_95 = 1.96


@dataclass(frozen=True)
class Estimate:
    """A mean over sets and half the width of its 95% confidence interval; the images of one set are not independent."""

    mean: float
    half_width: float

    @classmethod
    def of(cls, values: Values) -> Estimate:
        spread = values.std(ddof=1) if len(values) > 1 else math.nan
        return cls(float(values.mean()), float(Z_95 * spread / math.sqrt(len(values))))


def metrics(readings: Sequence[Reading], plans: Sequence[Plan], baseline: Sequence[Reading]) -> dict[str, Values]:
    """Of every set, means over its targets.

    pattern, outline, backdrop: agreement with the reference, 0..1. colour: distance of the target's palette to the
    reference's in OKLab. similarity: cosine of the features, each in units of its spread over the baseline's pictures.
    content: the prompted shape is recognised; leakage: the reference's is, in its place; broken: none is. copying: how
    much more the composition correlates with the reference's than with the other targets'; overlap: of the shapes with
    the reference's, intersection over union, which says something beside the baseline's only. seconds: a
    second, smaller object is there; duplicates: it has the reference's shape. diversity: palette distance to the same
    target of the next set.
    """
    labels = np.stack([reading.labels for reading in readings])
    palettes = torch.from_numpy(np.stack([reading.palettes for reading in readings]))
    agreement = labels[:, 1:] == labels[:, :1]
    prompted = np.array([[icons.SHAPES.index(shape) for shape in plan.shapes] for plan in plans])
    found = {head: agreement[..., list(HEADS).index(head)].mean(1) for head in STYLE_HEADS}
    found["colour"] = palette_distances(palettes[:, 1:], palettes[:, :1]).mean(1).double().numpy()
    found["similarity"] = _similarity(readings, baseline)
    found["content"] = (labels[:, 1:, SHAPE] == prompted[:, 1:]).mean(1)
    found["leakage"] = (labels[:, 1:, SHAPE] == prompted[:, :1]).mean(1)
    found["broken"] = (labels[:, 1:, SHAPE] == HEADS["shape"].index(NONE)).mean(1)
    layouts = [reading.layout for reading in readings]
    for name in ("copying", "overlap"):
        found[name] = np.stack([getattr(layout, name)[1:] for layout in layouts]).mean(1, dtype=np.float64)
    further = np.stack([layout.further[1:] for layout in layouts])
    found["seconds"] = (further.sum(2) > 0).mean(1)
    found["duplicates"] = (np.take_along_axis(further, prompted[:, :1, None], 2)[..., 0] > 0).mean(1)
    following = palettes[:, 1:].roll(-1, 0)
    found["diversity"] = palette_distances(palettes[:, 1:], following).mean(1).double().numpy()
    return found


def distance_to(readings: Sequence[Reading], palettes: torch.Tensor) -> Values:
    """Of every set, the mean colour distance of its targets to a picture: `palettes` are (sets, 3, 3), OKLab."""
    targets = torch.from_numpy(np.stack([reading.palettes[1:] for reading in readings]))
    distances: Values = palette_distances(targets, palettes[:, None]).mean(1).double().numpy()
    return distances


def _similarity(readings: Sequence[Reading], baseline: Sequence[Reading]) -> Values:
    usual = np.concatenate([reading.features for reading in baseline]).astype(np.float64)
    features = (np.stack([reading.features for reading in readings]) - usual.mean(0)) / usual.std(0)
    features /= np.linalg.norm(features, axis=-1, keepdims=True)
    similarity: Values = (features[:, 1:] * features[:, :1]).sum(-1).mean(1)
    return similarity


def consistency(found: Mapping[str, Values], baseline: Mapping[str, Values]) -> Values:
    """One number a set for the plot: the mean of the three agreements and of how much of the baseline's mean colour
    distance is gone (1 - distance / baseline's)."""
    closer = 1 - found["colour"] / baseline["colour"].mean()
    return np.mean([*(found[head] for head in STYLE_HEADS), closer], axis=0)


@dataclass(frozen=True)
class Goals:
    """What sharing is to reach, against the same sets without it."""

    colour: float  # the colour distance, as a share of the baseline's: at most 0.5
    agreement: float  # the least gain of the three agreements, over chance, as a multiple of the baseline's: at least 2
    content_loss: float  # recognised shapes lost: at most 0.05
    leakage: float  # at most 0.05

    @classmethod
    def of(cls, found: Mapping[str, Values], baseline: Mapping[str, Values]) -> Goals:
        return cls(
            colour=float(found["colour"].mean() / baseline["colour"].mean()),
            agreement=min(
                float(found[head].mean() - CHANCE[head]) / max(1e-9, float(baseline[head].mean() - CHANCE[head]))
                for head in STYLE_HEADS
            ),
            content_loss=float(baseline["content"].mean() - found["content"].mean()),
            leakage=float(found["leakage"].mean()),
        )

    @property
    def reached(self) -> bool:
        return self.colour <= 0.5 and self.agreement >= 2 and self.content_loss <= 0.05 and self.leakage <= 0.05
