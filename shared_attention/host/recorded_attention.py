"""Where targets look, recorded by a model's sampling runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ..attending import Attention, Extension, Projections
from ..attention_map.looking import look
from ..attention_map.recording import AttentionRecord, Look, LookedAtLevels, RunLooks, planned_levels
from ..layers import LayerKey
from ..masks import Grid
from ..rows import Rows
from .calls import Run, has_reference_row, targets_of
from .wrappers import attach, says_if_unread

KEY = "style_aligned.attention_record"

_POSITIVE = 0
"""Of the host's kinds of conditioning; where targets look for a negative is nobody's question."""


def record_attention(model: Any, record: AttentionRecord) -> Any:
    """A clone of the host's `model` whose runs `record` keeps, in the place of any record before."""
    clone = attach(model, KEY, {WrappersMP.OUTER_SAMPLE: says_if_unread("Record Attention")}, "a record of attention")
    clone.model_options["transformer_options"][KEY] = record
    return clone


def watch(
    model_options: Mapping[str, Any], images: int, sigmas: Sequence[float], is_on: Callable[[float], bool]
) -> Watch | None:
    """Over a run of so many images, if its model records. is_on: whether it shares at a noise level."""
    record: AttentionRecord | None = model_options.get("transformer_options", {}).get(KEY)
    return None if record is None else Watch(record, images, sigmas, is_on)


class Watch:
    """Over one run of a model that records."""

    def __init__(
        self, record: AttentionRecord, images: int, sigmas: Sequence[float], is_on: Callable[[float], bool]
    ) -> None:
        self._record, self._run = record, RunLooks(images)
        self._levels = LookedAtLevels(planned_levels(sigmas, record.steps, is_on))

    def over_call(
        self, run: Run, options: Mapping[str, Any], sigma: float, rows: Rows, size: tuple[int, int]
    ) -> Looking | None:
        """What layers of a call on latents of `size` look with; None where nothing is to be seen."""
        progress, kinds = self._levels.progress_at(sigma), options.get("cond_or_uncond", ())
        chunks = [chunk for chunk in range(rows.chunks) if kinds[chunk % len(kinds)] == _POSITIVE]
        if progress is None or not chunks or not rows.has_targets:
            return None
        if size != run.size:
            run.report("Record Attention leaves out calls of the model for a part of the picture.")
            return None
        self._run.has_reference = has_reference_row(options)
        return Looking(chunks, targets_of(run, options), progress, self._run.looks)

    def finish(self) -> None:
        """The run has come to its end."""
        self._record.keep(self._run)


@dataclass(frozen=True, eq=False)
class Looking:
    """In one call. chunks: those that are asked. targets: their numbers in the batch."""

    chunks: list[int]
    targets: tuple[int, ...]
    progress: float
    looks: list[Look]

    def at(
        self,
        layer: LayerKey,
        aligned: Projections,
        references: Sequence[Extension],
        grid: Grid,
        scale: float,
        attend: Attention,
        mask: Tensor | None = None,
        heads: int = 1,
        target_mask: Tensor | None = None,
    ) -> None:
        """Record where the targets of a layer look; see `looking.look`."""
        if not references:
            return
        own = Projections(*(self._asked(x) for x in aligned))
        others = [self._asked_of(each) for each in references]
        rows = len(aligned.query) * aligned.query.shape[1]
        if mask is not None and len(mask) == rows and rows > 1:
            mask = self._asked(mask.view(-1, aligned.query.shape[1], *mask.shape[1:])).flatten(0, 1)
        seen = look(own, others, grid, scale, attend, mask, heads, target_mask)
        self.looks.append(Look(layer, self.progress, self.targets, tuple(seen)))

    def _asked_of(self, reference: Extension) -> Extension:
        key, value, counts = self._asked(reference.key), self._asked(reference.value), reference.counts
        if counts is not None and counts.ndim > 1:
            counts = self._asked(counts)
        return reference._replace(key=key, value=value, counts=counts)

    def _asked(self, x: Tensor) -> Tensor:
        """Of `x` (chunks, ...)."""
        return x if len(self.chunks) == len(x) else x[self.chunks]
