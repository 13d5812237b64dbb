"""When sharing is on: a range of the sampling process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class SamplingRange:
    """From `start` to `end`, both a fraction of the sampling process: 0 is pure noise, 1 the finished image.

    Raises ValueError where the range ends before it starts or leaves 0..1.
    """

    start: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        for name, value in (("start_percent", self.start), ("end_percent", self.end)):
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} is {value:g}; give a fraction of the sampling process from 0 to 1.")
        if self.start > self.end:
            raise ValueError(
                f"start_percent ({self.start:g}) lies after end_percent ({self.end:g}): sharing would never be on. "
                "Lower start_percent or raise end_percent; to switch sharing off, bypass the node."
            )

    @property
    def is_whole(self) -> bool:
        return self.start == 0.0 and self.end == 1.0

    @property
    def is_empty(self) -> bool:
        return self.start == self.end

    def contains(self, sigma: float, percent_to_sigma: Callable[[float], float]) -> bool:
        """Whether a model call at noise level `sigma` lies in the range; `percent_to_sigma` is the model's own."""
        # Flow models start at the very sigma of 0 percent, so an empty range would contain their first step.
        return not self.is_empty and percent_to_sigma(self.end) <= sigma <= percent_to_sigma(self.start)
