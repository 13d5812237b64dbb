"""Where the reference stands for the targets of a transformer with rotary positions."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .rotary import Rotary, frequency_scales

PLACINGS = ("beside", "same", "none")


@dataclass(frozen=True)
class ReferencePositions:
    """How the reference's keys are placed, and how much each frequency of their positions counts.

    placing: "beside": to the right of the target, as far as that is wide, so that no two tokens share a place (ShiftPE
    of AlignedGen). "same": where they are, each on the target's token of its place. "none": without any place.
    high_frequencies, low_frequencies: factors of the keys' fastest and slowest pairs (see frequency_scales).
    """

    placing: str = "beside"
    high_frequencies: float = 1.0
    low_frequencies: float = 1.0

    def __post_init__(self) -> None:
        if self.placing not in PLACINGS:
            raise ValueError(f"positions is {self.placing!r}; choose one of {', '.join(PLACINGS)}.")

    def rotation(self, image: Rotary, turn: Rotary, axes: str) -> Rotary | None:
        """What the reference's keys, as the model has rotated them, go through; None where they stay as they are.

        image: the rotation that they have had. turn: by the offset of "beside". axes: of each pair (see
        frequency_scales).
        """
        rotation = None
        if self.placing == "beside":
            rotation = turn
        elif self.placing == "none":
            rotation = image.inverse()
        if self.high_frequencies == self.low_frequencies == 1.0:
            return rotation
        scales = frequency_scales(axes, self.high_frequencies, self.low_frequencies)
        return (rotation or _unmoved(image)).scaled(scales)


def _unmoved(image: Rotary) -> Rotary:
    pairs = image.matrices.shape[-3]
    identity = torch.eye(2, device=image.matrices.device).expand(1, 1, 1, pairs, 2, 2)
    return Rotary(identity, image.halves)
