"""Which picture falls out of the set."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

FEWEST = 4  # of three pictures nobody can tell which one is unlike the others
DEVIATIONS = 3.0
_TO_SIGMA = 1.4826  # of a normal distribution: its standard deviation by its median absolute deviation


class Outlier(NamedTuple):
    """A picture that falls out: its place, its mean distance to the others, and the limit that it is beyond."""

    place: int
    distance: float
    limit: float


def outlier(distances: Tensor, noticeable: float) -> Outlier | None:
    """The picture that is farthest from the others by `distances` (pictures, pictures), if it is far out; or None.

    Far out: its mean distance to the others is beyond the median of all of these plus 3 standard deviations, estimated
    by the median absolute deviation (Hampel 1974, Leys et al. 2013), and beyond the median by `noticeable` at least:
    where all are about the same the deviation is next to nothing. Sets of fewer than 4 have none.
    """
    count = len(distances)
    if count < FEWEST:
        return None
    means = distances.double().sum(1) / (count - 1)  # its distance to itself is 0
    median = means.quantile(0.5)
    deviation = _TO_SIGMA * (means - median).abs().quantile(0.5)
    limit = float(median + max(DEVIATIONS * float(deviation), noticeable))
    place = int(means.argmax())
    return Outlier(place, float(means[place]), limit) if means[place] > limit else None
