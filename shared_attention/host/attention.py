"""Shared attention as wrappers around the host's sampling runs and model calls.

The model is never modified: what a family changes to reach its layers lasts for one model call.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ..layers import LayerSelection
from ..schedule import SamplingRange
from ..sharing import SharingSettings
from ..sources import Bank, Recording, RowsOfCall, Source
from ..subject_map import SubjectMap
from . import families, line_by_line, masks, recorded_attention, subject
from .apart import memory, references
from .apart.run import BANKS, RECORDING, BanksOfEvaluation, ReferencesOfRun
from .calls import (
    KEY,
    Call,
    Options,
    Run,
    current_call,
    has_reference_row,
    known_run,
    rows_of_call,
    rows_of_targets,
)
from .compiling import own_graphs
from .recorded_attention import Watch, watch
from .row.control import without_control
from .wrappers import SamplingCallback, attach

_UNKNOWN_TO_THE_MODEL = (
    RECORDING,
    BANKS,
    references.KEY,
    line_by_line.KEY,
    masks.KEY,
    recorded_attention.KEY,
    subject.KEY,
)
"""Options that only some calls have: compiled graphs take the keys of one call's options to be those of all."""


def share_attention(model: Any, sharing: SharedAttention) -> Any:
    """A clone of the host's `model` that samples with `sharing`; it takes the place of sharing attached before.

    Raises ValueError where no family knows the model, or where the selected layers are not in it.
    """
    unet = model.get_model_object("diffusion_model")
    family = families.find(unet)
    sharing.layers.require_in(family.selectable(unet, sharing.settings))
    wrappers: dict[str, Callable[..., Any]] = {
        WrappersMP.OUTER_SAMPLE: sharing.around_run,
        WrappersMP.PREPARE_SAMPLING: sharing.around_loading,
        WrappersMP.PREDICT_NOISE: around_prediction,
        WrappersMP.CALC_COND_BATCH: sharing.around_evaluation,
        WrappersMP.APPLY_MODEL: sharing.around_model_call,
    }
    return attach(model, KEY, wrappers, "shared attention")


class SharedAttention:
    """The wrappers that share attention. They keep nothing of a run: the object outlives it in the host's cache.

    reference_without_control: the reference's rows get no ControlNet residual, as in the authors' code.
    """

    def __init__(
        self,
        settings: SharingSettings,
        layers: LayerSelection,
        sampling_range: SamplingRange,
        reference_without_control: bool = False,
    ) -> None:
        self.settings = settings
        self.layers = layers
        self.sampling_range = sampling_range
        self.reference_without_control = reference_without_control
        self._has_told = False

    def around_run(
        self,
        executor: Any,
        noise: Tensor,
        latent_image: Tensor,
        sampler: Any,
        sigmas: Tensor,
        denoise_mask: Tensor | None = None,
        callback: SamplingCallback | None = None,
        disable_pbar: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """OUTER_SAMPLE wrapper. noise: (images, channels, ...)."""
        guider = executor.class_obj
        with known_run(guider, len(noise)) as run:
            run.size = (int(noise.shape[-2]), int(noise.shape[-1]))
            apart = references.of_options(guider.model_options)
            memory.require_room(guider.model_patcher, apart, self.layers)
            run.references = ReferencesOfRun(guider, apart, seed) if apart else None
            run.watch = self._watch(guider, len(noise), sigmas)
            protects = masks.masks_of(guider.model_options.get("transformer_options", {})).protect_content > 0
            run.subject = SubjectMap() if protects else None
            try:
                args = (noise, latent_image, sampler, sigmas, denoise_mask, callback, disable_pbar, seed)
                out = cast(Tensor, executor(*args, **kwargs))
            finally:
                if run.references is not None:
                    run.references.clear()
        if run.watch is not None:
            run.watch.finish()
        if len(sigmas) > 1:
            self._report_bypass(run)
        return out

    def _watch(self, guider: Any, images: int, sigmas: Tensor) -> Watch | None:
        model = guider.model_patcher.model
        return watch(guider.model_options, images, sigmas[:-1].tolist(), lambda sigma: self._is_on_at(sigma, model))

    def around_loading(
        self,
        executor: Any,
        model: Any,
        noise_shape: Sequence[int],
        conds: Any,
        model_options: Options | None = None,
        **kwargs: Any,
    ) -> Any:
        """PREPARE_SAMPLING wrapper: the host loads the model with room for what references apart take."""
        apart = references.of_options(model_options or {})
        if apart and families.of_unet(model.get_model_object("diffusion_model")) is not None:
            noise_shape = memory.with_banks(model, apart, self.layers, noise_shape)
        return executor(model, noise_shape, conds, model_options=model_options, **kwargs)

    def around_evaluation(
        self,
        executor: Callable[..., list[Tensor]],
        model: Any,
        conds: line_by_line.Conds,
        x: Tensor,
        timestep: Tensor,
        model_options: Options,
    ) -> list[Tensor]:
        """CALC_COND_BATCH wrapper: references apart run first, and lines of unlike length one by one."""
        options = model_options.get("transformer_options", {})
        run: Run | None = options.get(KEY)
        if run is not None and run.subject is not None:
            options = {**options, subject.KEY: subject.words_in(conds)}
            model_options = {**model_options, "transformer_options": options}
        if run is None or run.references is None or RECORDING in options or BANKS in options:
            return line_by_line.evaluate(executor, model, conds, x, timestep, model_options)
        if families.of_unet(model.diffusion_model) is not None and self._is_on_at(timestep[0], model):
            banks = run.references.banks(model, conds, timestep, model_options)
            model_options = {**model_options, "transformer_options": {**options, BANKS: banks}}
        return line_by_line.evaluate(executor, model, conds, x, timestep, model_options)

    def _report_bypass(self, run: Run) -> None:
        """A line where another node has replaced what the wrappers and layers are part of."""
        is_wanted = run.images > 1 or run.references is not None
        never_called = run.model_calls == 0 and is_wanted and self._is_on()
        if never_called or (run.calls_to_share > 0 and run.shared_layers == 0 and not run.has_reported):
            run.report(
                "nothing was shared in this run: another node replaces the model's forward pass (DeepCache does). "
                "Remove that node, or switch it off for style-aligned sets."
            )

    def _is_on(self) -> bool:
        """Whether anything is shared at some time of a run."""
        is_never = self.sampling_range.is_empty or self.sampling_range.start == 1.0
        return self.settings.strength > 0.0 and not is_never

    def around_model_call(
        self,
        executor: Any,
        x: Tensor,
        t: Tensor,
        c_concat: Tensor | None = None,
        c_crossattn: Tensor | None = None,
        control: Any = None,
        transformer_options: Options | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """APPLY_MODEL wrapper. x: (rows, channels, height, width), t: the noise level sigma of each row."""
        base_model, options = executor.class_obj, dict(transformer_options or {})
        unet, run = base_model.diffusion_model, options.get(KEY)
        family = families.of_unet(unet)  # a guider's second model has this one's wrappers, whatever it is
        if run is None and self._is_on() and not self._has_told:
            self._has_told = True
            logging.warning(
                "Style Aligned: another node calls the model outside of a sampling run of ComfyUI, so that nobody "
                "knows the batch; nothing is shared there."
            )
        if run is None or family is None:
            return cast(Tensor, executor(x, t, c_concat, c_crossattn, control, options, **kwargs))
        size = (int(x.shape[-2]), int(x.shape[-1]))
        source = _source(run, len(x), options, c_crossattn, size)
        on, layers = source if self._is_on_at(t[0], base_model) else None, family.selection(self.layers)
        call = Call(run, on, self.settings, layers, size=size)
        if source is not None:
            call = _steered(call, source, t, options, 0 if c_crossattn is None else c_crossattn.shape[1])
        for key in _UNKNOWN_TO_THE_MODEL:
            options.pop(key, None)
        if source is not None:
            family.check_call(kwargs)
        if source is not None and self.reference_without_control and self._is_on():
            control = without_control(control, source.rows)
        run.model_calls += 1
        run.calls_to_share += call.source is not None
        token = current_call.set(call)
        try:
            with family.attached(unet, x, options, call), own_graphs(unet, options):
                out = cast(Tensor, executor(x, t, c_concat, c_crossattn, control, options, **kwargs))
        finally:
            current_call.reset(token)
        if call.source is not None and call.finding is not None and not call.finding.subject.is_found:
            run.report("protect_content finds no subject in this model: no layer that shares attends to text.")
        return out

    def _is_on_at(self, sigma: float | Tensor, base_model: Any) -> bool:
        """Whether sharing is on at a noise level, one for all images; a GPU is waited for only at need."""
        if self.settings.strength == 0.0:
            return False
        if self.sampling_range.is_whole:
            return True
        return self.sampling_range.contains(float(sigma), base_model.model_sampling.percent_to_sigma)


def _steered(call: Call, source: Source, t: Tensor, options: Options, text: int) -> Call:
    """The call with what is to be seen and steered in it.

    t: the noise level of each row. options: as the host hands them on. text: how many tokens it has.
    """
    run, settings = call.run, masks.masks_of(options)
    call = replace(call, protect_content=settings.protect_content)
    if source.rows.has_references and source.subject is not None:
        source.subject.at(float(t[0]))
        words, kinds, chunks = options.get(subject.KEY), options.get("cond_or_uncond", ()), source.rows.chunks
        found = subject.finding(run, source.subject, words, settings.subject, chunks, kinds, text)
        call = replace(call, finding=found)
    if isinstance(source, Recording) or call.size is None:
        return call
    looking = run.watch.over_call(run, options, float(t[0]), source.rows, call.size) if run.watch else None
    return replace(call, target_mask=masks.target_mask(run, options, source.rows, call.size), looking=looking)


def around_prediction(executor: Any, x: Tensor, timestep: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """PREDICT_NOISE wrapper: references apart may have several latents for a level that a sampler comes back to."""
    run: Run | None = executor.class_obj.model_options.get("transformer_options", {}).get(KEY)
    if run is not None and run.references is not None:
        run.references.visit(float(timestep.flatten()[0]))
    return cast(Tensor, executor(x, timestep, *args, **kwargs))


def _source(run: Run, count: int, options: Options, context: Tensor | None, size: tuple[int, int]) -> Source | None:
    """Where a call of `count` rows on latents of `size` gets references' features from; None for nothing to share."""
    recording: Bank | None = options.get(RECORDING)
    if recording is not None:
        return Recording(recording, options["uuids"], recording.style_mask, recording.subject)
    own = _source_in_batch(run, count, options, context, size)
    banks = cast("BanksOfEvaluation | None", options.get(BANKS))
    if banks is None or isinstance(own, Recording):
        return own
    rows = own.rows if own is not None else rows_of_targets(run, count, options, context)
    return None if rows is None else banks.source(options, rows, own)


def _source_in_batch(
    run: Run, count: int, options: Options, context: Tensor | None, size: tuple[int, int]
) -> Source | None:
    """The same, of a reference that is a row of the batch."""
    if not has_reference_row(options):
        return None
    row: line_by_line.Row | None = options.get(line_by_line.KEY)
    style_mask = masks.style_mask(run, options, size)
    if row is not None:
        return row.source(options, style_mask, run.subject) if run.images > 1 else None
    rows = rows_of_call(run, count, options, context)
    return None if rows is None else RowsOfCall(rows, style_mask, run.subject)
