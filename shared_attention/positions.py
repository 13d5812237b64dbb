"""Where the reference stands for the targets of a transformer with rotary positions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from .rotary import SPATIAL_AXES, Rotary, frequency_scales

KEY = "style_aligned.positions"
"""Where a model's options hold the settings."""

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

    def rotation(
        self,
        reference: Rotary,
        target: Rotary,
        turn: Rotary,
        axes: str,
        is_centred: bool = False,
        corner: Rotary | None = None,
    ) -> Rotary | None:
        """What the reference's keys go through, from before they are rotated; None where they stay as they are.

        reference, target: the rotations of their images' tokens, the same object where the images are of one size and
        rows of one call. turn: by the offset of "beside", the target's width. axes: of each pair, as in
        frequency_scales. corner: the rotation of the reference's first token, where `reference` is that of some of its
        tokens only.

        With "beside", the reference's left edge lies on the target's right one, top to top; with "same", corner lies on
        corner. Where a model counts positions from an image's centre (`is_centred`), it is middle to middle. Whatever
        else positions say (some models count their captions' tokens) is as in the target.
        """
        corner = corner or reference.of_tokens(slice(1))
        rotation = None if self.placing == "none" else self._placed(reference, corner, target, turn, axes, is_centred)
        if self.high_frequencies == self.low_frequencies == 1.0:
            return rotation
        scales = frequency_scales(axes, self.high_frequencies, self.low_frequencies)
        return (rotation or _unmoved(target)).scaled(scales)

    def _placed(
        self, reference: Rotary, corner: Rotary, target: Rotary, turn: Rotary, axes: str, is_centred: bool
    ) -> Rotary:
        """One product over the reference's tokens, whatever moves it."""
        is_beside = self.placing == "beside"
        if reference is target:
            return reference.then(turn) if is_beside else reference
        kept_axes = "" if not is_centred else "y" if is_beside else SPATIAL_AXES
        move = _moved(corner, target, axes, kept_axes)
        return reference.then(move.then(turn) if is_beside else move)


def _moved(corner: Rotary, target: Rotary, axes: str, kept_axes: str) -> Rotary:
    """What brings the reference's first token to the target's first one, but for positions along `kept_axes`."""
    move = corner.inverse().then(target.of_tokens(slice(1)))
    is_kept = torch.tensor([axis in kept_axes for axis in axes], device=move.matrices.device)[:, None, None]
    return replace(move, matrices=torch.where(is_kept, _unmoved(target).matrices, move.matrices))


def _unmoved(image: Rotary) -> Rotary:
    pairs = image.matrices.shape[-3]
    identity = torch.eye(2, device=image.matrices.device).expand(1, 1, 1, pairs, 2, 2)
    return Rotary(identity, image.halves)
