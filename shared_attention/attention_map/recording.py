"""What is recorded of where targets look, while sets are sampled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ..layers import LayerKey
from .looking import Seen

RUNS_KEPT = 4
_SAME = 1e-4  # relative, of noise levels


class Look(NamedTuple):
    """Of one layer at one noise level, by targets of these numbers in the batch.

    progress: of the sampling process there, from 0 on.
    """

    layer: LayerKey
    progress: float
    targets: tuple[int, ...]
    seen: tuple[Seen, ...]


@dataclass(eq=False)
class RunLooks:
    """A sampling run of so many images, of which the first is a reference or all are targets."""

    images: int
    has_reference: bool = True
    looks: list[Look] = field(default_factory=list)


class LookedAtLevels:
    """The noise levels of a run at which is looked: the first evaluation at or below each of those planned.

    planned: falling. A sampler may go its own way, and calls the model several times in an evaluation.
    """

    def __init__(self, planned: Sequence[tuple[float, float]]) -> None:
        self._planned = planned
        self._taken: dict[int, float] = {}

    def progress_at(self, sigma: float) -> float | None:
        """Where in the sampling process that is, if it is looked at."""
        passed = sum(level >= sigma * (1 - _SAME) for level, _ in self._planned)
        if passed == 0:
            return None
        taken = self._taken.setdefault(passed, sigma)
        return self._planned[passed - 1][1] if abs(taken - sigma) <= _SAME * sigma else None


def planned_levels(sigmas: Sequence[float], wanted: int, is_on: Callable[[float], bool]) -> list[tuple[float, float]]:
    """Some of a run's noise levels at which sharing is on, evenly spread, with the progress at each.

    sigmas: of the steps, falling, without the end.
    """
    on = [(sigma, step / len(sigmas)) for step, sigma in enumerate(sigmas) if is_on(sigma)]
    count = min(wanted, len(on))
    return [on[int((number + 0.5) * len(on) / count)] for number in range(count)]


class AttentionRecord:
    """The last runs of a model that records; they outlive the runs, in the host's cache of what nodes gave.

    steps: how many of each run are looked at.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self._runs: list[RunLooks] = []

    def keep(self, run: RunLooks) -> None:
        """Take over a run that is over, in the computer's memory; one in which nothing was shared is none."""
        looks = [look._replace(seen=tuple(map(_on_cpu, look.seen))) for look in run.looks]
        if looks:
            self._runs = [*self._runs, RunLooks(run.images, run.has_reference, looks)][-RUNS_KEPT:]

    def run_of(self, images: int) -> RunLooks:
        """The last run of that many images. Raises ValueError without one."""
        for run in reversed(self._runs):
            if run.images == images:
                return run
        raise ValueError(_nothing_of(images, sorted({run.images for run in self._runs})))


def _on_cpu(seen: Seen) -> Seen:
    return seen._replace(mass=seen.mass.cpu(), places=seen.places.cpu())


def _nothing_of(images: int, known: Sequence[int]) -> str:
    if not known:
        return (
            "Nothing has been recorded. Sample with the model that Record Attention gives, with Share Attention before "
            "or after it, and let the sampler run again where it took its result from the cache: a new seed does."
        )
    counts = " and ".join(map(str, known))
    return (
        f"There are {images} images, and what was recorded is of runs of {counts}. Connect all the images of the "
        "sampler whose model comes from Record Attention, the reference's included."
    )
