"""The sampling run and the model call that are going on, as the layers have to know them.

The run is kept in the options that the host hands from the sampler to every model call, so that calls in other threads
and on copies of the model know it too, and it ends with them. The call is known to what runs within it only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..layers import LayerSelection
from ..masks import Mask
from ..rows import Rows, UnknownRowsError, find_rows, find_targets
from ..sharing import SharingSettings
from ..sources import Source
from ..subject_map import SubjectMap

if TYPE_CHECKING:
    from .recorded_attention import Looking, Watch
    from .subject import Finding

KEY = "style_aligned.share_attention"

IMAGES = "style_aligned.images"
"""The option of calls of the pack's own for some images of the batch: their indices."""

ROW_REFERENCE = "style_aligned.reference_row"
"""The option of calls whose batch has a given reference in row 0."""

Options = dict[str, Any]
Replacement = Callable[..., Tensor]
"""Another node's attention, in the place where a family puts its own."""


@dataclass(eq=False)
class Run:
    """A sampling run: the size of its batch, and what came of sharing in it.

    references: those that are no rows of the batch (a ReferencesOfRun), if there are any. size: of its latents, height
    and width. watch: over where its targets look, if anybody asks. subject: where that of a reference in the batch is.
    """

    images: int
    references: Any = None
    size: tuple[int, int] | None = None
    watch: Watch | None = None
    subject: SubjectMap | None = None
    model_calls: int = 0
    calls_to_share: int = 0
    shared_layers: int = 0
    _reported: set[str] = field(default_factory=set)

    def report(self, message: str, level: int = logging.WARNING) -> None:
        """Say something in the log, once a run."""
        if message not in self._reported:
            self._reported.add(message)
            logging.log(level, "Style Aligned: %s", message)

    @property
    def has_reported(self) -> bool:
        return bool(self._reported)


@contextmanager
def known_run(guider: Any, images: int) -> Iterator[Run]:
    """Within the context all model calls of the host's `guider` know the run; its options are a copy for the run."""
    options = guider.model_options.setdefault("transformer_options", {})
    outer, run = options.get(KEY), Run(images)
    options[KEY] = run
    try:
        yield run
    finally:
        if outer is None:
            options.pop(KEY, None)
        else:
            options[KEY] = outer


@dataclass(frozen=True)
class Call:
    """What the attention layers have to know of the model call they are in; without a `source` nothing is shared.

    previous: what other nodes had put where a family puts shared attention, by the family's keys. notes: what a family
    has found out for all layers of the call. size: of its latents, height and width. target_mask: where its targets
    take the style, one for all or one for each target of the call; None where everywhere. looking: records where they
    look in this call. finding: finds the subject of the call's references. protect_content: how far targets are kept
    from subjects.
    """

    run: Run
    source: Source | None
    settings: SharingSettings
    layers: LayerSelection
    previous: dict[Any, Replacement] = field(default_factory=dict)
    notes: dict[Hashable, Any] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    target_mask: Mask | None = None
    looking: Looking | None = None
    finding: Finding | None = None
    protect_content: float = 0.0


def has_reference_row(options: Mapping[str, Any]) -> bool:
    """Whether the first image of a run's batch is a reference: beside references apart only if it is a given one."""
    run: Run | None = options.get(KEY)
    return run is None or run.references is None or ROW_REFERENCE in options


def targets_of(run: Run, options: Mapping[str, Any]) -> tuple[int, ...]:
    """The numbers within the batch of a call's images that are targets."""
    images = window_of(options) or range(run.images)
    return tuple(image for image in images if image > 0 or not has_reference_row(options))


current_call: ContextVar[Call | None] = ContextVar(KEY, default=None)
"""Not in the call's options: compiled models keep what those were when they were compiled."""


def rows_of_call(run: Run, count: int, options: Options, context: Tensor | None) -> Rows | None:
    """The rows of a model call of `count` rows; None where there is nothing to share or, with a report, unknown rows.

    options: the call's. context: its text, (rows, tokens, channels).
    """
    window = window_of(options)
    if (run.images if window is None else len(window)) < 2:
        return None
    try:
        return find_rows(count, len(options.get("cond_or_uncond", ())), run.images, window, context)
    except UnknownRowsError as error:
        run.report(
            f"{error}. Another node (tiled sampling or the like) has arranged them, and nobody can tell which is the "
            "reference, so nothing is shared in such calls."
        )
        return None


def rows_of_targets(run: Run, count: int, options: Options, context: Tensor | None) -> Rows | None:
    """The rows of a call all of whose images are targets; None with a report where their chunks cannot be told."""
    window = window_of(options)
    images = run.images if window is None else len(window)
    try:
        return find_targets(count, len(options.get("cond_or_uncond", ())), images, context)
    except UnknownRowsError as error:
        run.report(
            f"{error}. Another node (tiled sampling or the like) has arranged them, and nobody can tell the prompts "
            "apart, so nothing is shared in such calls."
        )
        return None


def window_of(options: Mapping[str, Any]) -> list[int] | None:
    """The images of this call within the whole batch, where the batch is sampled in windows."""
    if IMAGES in options:
        return list(options[IMAGES])
    window = options.get("context_window")
    if window is not None and window.dim == 0:
        anchor = getattr(window, "causal_anchor_index", None)
        leading = [] if anchor is None or anchor < 0 else [anchor]
        return [*leading, *window.index_list]
    # AnimateDiff-Evolved has windows of its own; None there is the whole batch.
    indices = (options.get("ad_params") or {}).get("sub_idxs")
    return None if indices is None else list(indices)
