"""Which part of a reference gives its style, and which part of each target takes it.

A mask is resized to the tokens of a layer by area: a token's value m is the mean of the mask over what it stands for.
Of a reference, m multiplies what its tokens count in the softmax (ln m is added to their logits) and in the statistics
that AdaIN and group norms take from it; tokens of m = 0 are left out. Of a target, what a layer gives with sharing and
what it gives without are mixed, token by token: m * shared + (1 - m) * alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

Grid = tuple[int, int, int]
"""Frames, height and width of an image in tokens."""


@dataclass(frozen=True, eq=False)
class Mask:
    """values: of one picture, or one for each target, (1 or targets, height, width) in 0 to 1.

    In a class, as the host copies the lists and dicts of its options at every call.
    """

    values: Tensor

    def of_tokens(self, grid: Grid) -> Tensor:
        """The masks' values for tokens, row by row: (1 or targets, tokens), in float32.

        On the CPU, where which tokens to leave out can be asked without waiting for a GPU.
        """
        frames, height, width = grid
        small = functional.interpolate(self.values[:, None].float(), (height, width), mode="area")
        return small.flatten(1).repeat(1, frames)

    def of_targets(self, targets: Sequence[int]) -> Mask:
        """The mask of the targets with these numbers, where each has its own."""
        return self if len(self.values) == 1 else Mask(self.values[list(targets)])


def read_style_mask(given: Tensor | None) -> Mask | None:
    """The mask of a reference from the host's MASK, (height, width) or (1, height, width); None where all is white.

    Raises ValueError where it is no mask of one picture, or leaves nothing of it.
    """
    if given is None:
        return None
    values = _read(given, "style_mask")
    if len(values) > 1:
        raise ValueError(f"style_mask has {len(values)} masks and there is one reference; give one mask.")
    if not bool(values.any()):
        raise ValueError("style_mask is black everywhere, so that no style is left. Paint white where to take it from.")
    return _unless_white(values)


def read_target_mask(given: Tensor | None) -> Mask | None:
    """The mask of targets from the host's MASK, (1 or targets, height, width); None where all is white."""
    return None if given is None else _unless_white(_read(given, "target_mask"))


def _read(given: Tensor, name: str) -> Tensor:
    """(masks, height, width), on the CPU; a copy, so that nobody changes it later."""
    if given.ndim not in (2, 3) or given.numel() == 0:
        raise ValueError(f"{name} is not a mask: it has the shape {tuple(given.shape)}. Connect a MASK.")
    values = given.detach().to("cpu", torch.float32)
    if not bool(values.isfinite().all()):
        raise ValueError(f"{name} has values that are no numbers. Connect another MASK.")
    return values.clamp(0.0, 1.0).view(-1, *given.shape[-2:])


def _unless_white(values: Tensor) -> Mask | None:
    return None if bool((values == 1.0).all()) else Mask(values)


def blended(alone: Tensor, shared: Tensor, mask: Tensor) -> Tensor:
    """mask * shared + (1 - mask) * alone, where the mask is 0 or 1 either of them to the bit."""
    return torch.lerp(alone, shared, mask.to(alone))
