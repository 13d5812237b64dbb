"""The masks on a model, for shared attention to read at each call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from comfy.patcher_extension import WrappersMP

from ..masks import Mask
from ..rows import Rows
from .calls import Options, Run, has_reference_row, targets_of
from .wrappers import attach, says_if_unread

KEY = "style_aligned.masks"


@dataclass(frozen=True, eq=False)
class Masks:
    """style: where style may be taken from, of the reference. target: where targets take it, one for all or each.

    protect_content: how far the reference's subject is kept out of targets, 0 to 1. subject: the words of its prompt
    that name it; none for all of them.
    """

    style: Mask | None = None
    target: Mask | None = None
    protect_content: float = 0.0
    subject: str = ""


def set_masks(model: Any, masks: Masks) -> Any:
    """A clone of the host's `model` with `masks` in its options; they take the place of those set before."""
    clone = attach(model, KEY, {WrappersMP.OUTER_SAMPLE: says_if_unread("Masks")}, "masks")
    clone.model_options["transformer_options"][KEY] = masks
    return clone


def masks_of(options: Options) -> Masks:
    masks: Masks = options.get(KEY) or Masks()
    return masks


def style_mask(run: Run, options: Options, size: tuple[int, int]) -> Mask | None:
    """The mask of the reference in the rows of a call on latents of `size`."""
    mask = masks_of(options).style
    return mask if mask is not None and _covers(run, size) else None


def target_mask(run: Run, options: Options, rows: Rows, size: tuple[int, int]) -> Mask | None:
    """The mask of the targets of a call. Raises ValueError where there are masks, but not one for each target."""
    mask = masks_of(options).target
    if mask is None or not rows.has_targets or not _covers(run, size):
        return None
    first = int(has_reference_row(options))  # none of a mask's targets, also where this call is without it
    _require_one_for_each(mask, run.images - first)
    return mask.of_targets([image - first for image in targets_of(run, options)])


def _require_one_for_each(mask: Mask, targets: int) -> None:
    if len(mask.values) not in (1, targets):
        raise ValueError(
            f"target_mask of Style Aligned: Masks has {len(mask.values)} masks and the batch has {targets} images that "
            "take on the style. Give one mask for all of them, or one for each."
        )


def _covers(run: Run, size: tuple[int, int]) -> bool:
    """Whether a call is on whole pictures: nobody knows which part of a mask belongs to a tile or an area."""
    if run.size is None or size == run.size:
        return True
    run.report("the masks of Style Aligned: Masks are left out where the model is called for a part of the picture.")
    return False
