"""A batch whose lines have prompts of unlike length, evaluated row by row: the reference first, then each target.

Each row is what its prompt gives alone, since it is evaluated as the host would evaluate it alone. Targets read from a
bank what the reference had in every layer; the bank ends with the evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from comfy.conds import CONDConstant, CONDList, CONDRegular
from comfy.utils import repeat_to_batch_size
from torch import Tensor

from ..lines import LINE, Line, RowWeight
from ..masks import Mask
from ..rows import Rows
from ..sources import Bank, BankOfChunks, Reading, Recording, Source
from ..subject_map import SubjectMap
from .calls import IMAGES, has_reference_row, window_of
from .wrappers import STEP_CACHES

KEY = "style_aligned.row"

Cond = dict[str, Any]
Conds = Sequence[list[Cond] | None]
"""The host's encoded conditionings by kind: positive, negative and so on."""


@dataclass(frozen=True, eq=False)
class Row:
    """The row of a batch that is being evaluated: the reference, whose features the bank keeps, or a target.

    identities: by the host's identifier of each conditioning what it has in common with that of the other rows.
    """

    bank: Bank
    is_reference: bool
    identities: Mapping[Hashable, Hashable]

    def source(self, options: Mapping[str, Any], style_mask: Mask | None, subject: SubjectMap | None) -> Source | None:
        """Where a model call with the host's `options` gets features from; None for a target without a reference.

        style_mask: the part of the reference that gives its style in this call. subject: where its subject is.
        """
        conditionings = [
            (kind, self.identities.get(uuid, uuid))
            for kind, uuid in zip(options["cond_or_uncond"], options["uuids"], strict=True)
        ]
        if self.is_reference:
            return Recording(self.bank, conditionings, style_mask, subject)
        return Reading([BankOfChunks(self.bank, tuple(conditionings))], Rows(len(conditionings), 1, None))


def evaluate(
    executor: Callable[..., list[Tensor]],
    model: Any,
    conds: Conds,
    x: Tensor,
    timestep: Tensor,
    model_options: Mapping[str, Any],
) -> list[Tensor]:
    """CALC_COND_BATCH wrapper. x: (images, channels, ...). Returns a prediction of that shape for each kind of cond."""
    if not any(LINE in cond for kind in conds for cond in kind or ()):
        return executor(model, conds, x, timestep, model_options)
    options = model_options.get("transformer_options", {})
    window, has_reference = window_of(options), has_reference_row(options)
    images = list(range(len(x))) if window is None else window
    identities = {cond["uuid"]: cond[LINE].group for kind in conds for cond in kind or () if LINE in cond}
    if window is None:
        next(iter(identities.values())).require(len(x))
    bank, predicted = Bank(), dict[int, list[Tensor]]()
    for place in sorted(range(len(images)), key=lambda place: images[place] != 0):
        image, at = images[place], slice(place, place + 1)
        row = Row(bank, has_reference and image == 0, identities)
        own = [None if kind is None else _of_row(kind, image, place, len(x)) for kind in conds]
        predicted[place] = executor(model, own, x[at], timestep[at], _with_row(model_options, row, image))
    return [torch.cat([predicted[place][kind] for place in range(len(x))]) for kind in range(len(conds))]


def _with_row(model_options: Mapping[str, Any], row: Row, image: int) -> dict[str, Any]:
    """The options for one row. Caches that skip steps compare a call with the one before, which is another row's."""
    options = dict(model_options.get("transformer_options", {}))
    options |= {KEY: row, IMAGES: [image]}
    options["wrappers"] = {
        kind: {key: value for key, value in by_key.items() if key not in STEP_CACHES}
        for kind, by_key in options.get("wrappers", {}).items()
    }
    return {**model_options, "transformer_options": options}


def _of_row(conds: Sequence[Cond], image: int, place: int, count: int) -> list[Cond]:
    """The conditionings of one kind for the image at `place` in a batch of `count`."""
    return [_picked(cond, place, count) for cond in conds if LINE not in cond or _is_of(cond[LINE], image)]


def _is_of(line: Line, image: int) -> bool:
    return line.row == image % line.group.rows


def _picked(cond: Cond, place: int, count: int) -> Cond:
    own = dict(cond)
    if isinstance(own.get("strength"), RowWeight):
        own["strength"] = own["strength"].strength
    if "mask" in own and len(own["mask"]) == count:
        own["mask"] = own["mask"][place : place + 1]
    if "control" in own:
        _require_one_hint(own["control"])
    own["model_conds"] = {name: _row_of(value, place, count) for name, value in cond["model_conds"].items()}
    return own


def _row_of(value: Any, place: int, count: int) -> Any:
    """A model's cond for one row of the batch that the host would make of it."""
    if isinstance(value, CONDConstant) or not isinstance(value, CONDRegular):
        return value

    def row(tensor: Tensor) -> Tensor:
        return tensor if len(tensor) == 1 else repeat_to_batch_size(tensor, count)[place : place + 1]

    return value._copy_with([*map(row, value.cond)] if isinstance(value, CONDList) else row(value.cond))


def _require_one_hint(control: Any) -> None:
    while control is not None:
        hint = getattr(control, "cond_hint_original", None)
        if isinstance(hint, Tensor) and len(hint) > 1:
            raise ValueError(
                f"The ControlNet has {len(hint)} hints, one for each image, and the prompts have unlike numbers of "
                "tokens, so that images are drawn one by one. Give one hint for all images, or lines of like length."
            )
        control = getattr(control, "previous_controlnet", None)
