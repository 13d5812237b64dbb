"""What is measured of a set, and means with intervals over sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from devtools.checkpoint_evaluation.clip_pair import ClipPair
from devtools.checkpoint_evaluation.judges import Judges
from devtools.evaluation.summary import Estimate, Values


@dataclass(frozen=True)
class Measure:
    """title: of its column. digits: after the point."""

    title: str
    meaning: str
    digits: int = 3


MEASURES = {
    "consistency": Measure(
        "set consistency", "mean cosine of the embeddings of each two pictures of a set; the paper's"
    ),
    "style": Measure("style", "mean cosine of the covariances of patch features of each two pictures"),
    "palette": Measure("palette distance", "of each two pictures, in OKLab; 0.02 is just noticed; less is closer"),
    "texture": Measure("texture distance", "of each two pictures, in doublings of detail; less is closer"),
    "text": Measure("text agreement", "mean cosine of each target and the words for what it should show"),
    "leakage": Measure(
        "leakage", "how much closer targets are to the reference's words than to their own; less is better"
    ),
    "copying": Measure("copying", "correlation of targets' layout with the reference's; 1 is the same layout"),
}
PAIRED = {"consistency": "content", "style": "style", "palette": "palette", "texture": "texture"}
"""Means over all pairs of a set, by the Report node's names; the vision model's where there is one."""
COST = "cost"


def measure_set(pictures: Tensor, objects: Sequence[str], judges: Judges) -> dict[str, float]:
    """Of one set. pictures: (pictures, height, width, 3) of 0..1, the reference first. objects: what each shows."""
    from style_aligned.shared_attention.host.vision import see
    from style_aligned.shared_attention.report.measure import measure

    eyes = None if judges.vision is None else partial(see, judges.vision)
    tables = {each.name: each.table for each in measure("images", pictures, None, eyes).measures}
    rows, columns = torch.triu_indices(len(pictures), len(pictures), 1)
    found = {key: float(tables[name][rows, columns].mean()) for key, name in PAIRED.items() if name in tables}
    found["copying"] = float(tables["copying"][0, 1:].mean())
    if judges.pair is not None:
        found |= _with_texts(judges.pair, pictures, objects)
    return found


def _with_texts(pair: ClipPair, pictures: Tensor, objects: Sequence[str]) -> dict[str, float]:
    """Of the targets: their cosine with their own words, and by how much that with the reference's is above it."""
    cosines = pair.of_pictures(pictures[1:]) @ pair.of_texts(objects).T
    own, reference = cosines[:, 1:].diagonal(), cosines[:, 0]
    return {"text": float(own.mean()), "leakage": float((reference - own).mean())}


@dataclass(frozen=True)
class Result:
    """Of one variant: each measure's values, one a set, the same sets for all variants."""

    key: str
    title: str
    values: Mapping[str, Values]

    def estimate(self, name: str) -> Estimate:
        return Estimate.of(self.values[name])

    def beside(self, other: Result, name: str) -> Estimate:
        """The difference to the same sets of another variant, which chance of the sets does not blur."""
        return Estimate.of(self.values[name] - other.values[name])


def result(key: str, title: str, sets: Sequence[Mapping[str, float]], cost: Sequence[float]) -> Result:
    """cost: seconds of each set, as a multiple of the same set's by the model alone."""
    names = [name for name in MEASURES if all(name in each for each in sets)]
    values = {name: np.array([each[name] for each in sets]) for name in names}
    return Result(key, title, {**values, COST: np.array(cost)})


def of_the_way(name: str, floor: Result, ours: Result, ceiling: Result) -> float | None:
    """How far `ours` is from floor to ceiling, by means; None where these are not apart beyond chance."""
    span = ceiling.beside(floor, name)
    if not abs(span.mean) > span.half_width:
        return None
    return ours.beside(floor, name).mean / span.mean
