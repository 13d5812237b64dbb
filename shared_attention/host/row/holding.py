"""A given latent as row 0 of everything that a model samples.

Whatever the sampler does, at every model call row 0 is the reference at the noise level of that call, and what the
model is taken to have denoised there is the clean reference. So the row is right within multi-stage steps too, and the
sampler itself carries it to the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...trajectory import Trajectory
from ..calls import ROW_REFERENCE
from ..wrappers import SamplingCallback, attach
from .conditioning import with_own_rows
from .control import Control, without_control
from .recognition import require_reference
from .run import run_of, start_run, with_row_0


def hold_reference(model: Any, row: ReferenceRow) -> Any:
    """A clone of the host's `model` that samples with `row`; it takes the place of one attached before."""
    wrappers: dict[str, Callable[..., Any]] = {
        WrappersMP.OUTER_SAMPLE: row.around_run,
        WrappersMP.SAMPLER_SAMPLE: around_sampler,
        WrappersMP.PREDICT_NOISE: around_prediction,
        WrappersMP.APPLY_MODEL: around_model_call,
    }
    return attach(model, ROW_REFERENCE, wrappers, "a reference latent")


class ReferenceRow:
    """What holds a reference in row 0 of a run.

    reference: (1, channels, height, width), as in the host's LATENT. trajectory: the inverted reference; without one
    the reference is noise-matched. offset: how many levels cleaner a trajectory starts (see CleanerStart). others: the
    indices within the host's noise of the other images of the set.
    """

    def __init__(
        self,
        reference: Tensor,
        trajectory: Trajectory | None = None,
        offset: int = 0,
        others: Sequence[int] = (),
    ) -> None:
        self.reference = reference
        self.trajectory = trajectory
        self.offset = offset
        self.others = others

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
        """OUTER_SAMPLE wrapper. noise, latent_image: (images, channels, height, width)."""
        self._require_same_size(noise)
        guider = executor.class_obj
        run = start_run(guider.model_patcher, self.reference, len(noise), self.trajectory, self.offset)
        first, last = float(sigmas[0]), float(sigmas[-1])  # some samplers write in their sigmas
        require_reference(run, latent_image, first, noise, seed, self.others)
        if denoise_mask is not None:  # one value a pixel by now; a mask of the targets is none of the reference
            denoise_mask = denoise_mask.clone()
            denoise_mask[:1] = 1.0
        shown = callback and run.shown_to(callback)
        # These are the run's own: the host gives a guider back those of its model, whatever happens.
        options = guider.model_options.setdefault("transformer_options", {})
        options[ROW_REFERENCE] = run
        try:
            out = executor(noise, latent_image, sampler, sigmas, denoise_mask, shown, disable_pbar, seed, **kwargs)
        finally:
            options.pop(ROW_REFERENCE, None)
        # Some samplers end between noise levels; the reference leaves at the one that the stage ends at.
        return run.leave(cast(Tensor, out), last)

    def _require_same_size(self, noise: Tensor) -> None:
        if noise.shape[1:] != self.reference.shape[1:]:
            height, width = self.reference.shape[-2:]
            raise ValueError(
                f"The latent to sample is {tuple(noise.shape[1:])} (channels, height, width), the reference "
                f"{tuple(self.reference.shape[1:])}. Connect the latent output of Style Aligned: Reference Latent to "
                f"the sampler, or encode a picture of the size that you sample; this gives {width} x {height}."
            )


def around_sampler(
    executor: Callable[..., Tensor],
    guider: Any,
    sigmas: Tensor,
    extra_args: dict[str, Any],
    callback: SamplingCallback | None,
    noise: Tensor,
    latent_image: Tensor,
    denoise_mask: Tensor | None = None,
    *args: Any,
    **kwargs: Any,
) -> Tensor:
    """SAMPLER_SAMPLE wrapper: all conditioning is encoded by now. noise, latent_image: (images, channels, ...)."""
    run = run_of(extra_args["model_options"])
    if run is not None:
        with_own_rows(guider, run, noise, latent_image, denoise_mask=denoise_mask, seed=extra_args.get("seed"))
    return executor(guider, sigmas, extra_args, callback, noise, latent_image, denoise_mask, *args, **kwargs)


def around_prediction(
    executor: Any,
    x: Tensor,
    timestep: Tensor,
    model_options: dict[str, Any] | None = None,
    seed: int | None = None,
) -> Tensor:
    """PREDICT_NOISE wrapper. x: (images, channels, height, width), timestep: sigma for each image."""
    options = model_options or {}
    run = run_of(options) or run_of(executor.class_obj.model_options)  # a sampler may leave the options out
    if run is None:
        return cast(Tensor, executor(x, timestep, options, seed))
    row = run.at(float(timestep.flatten()[0]), x.shape[-2:])
    return run.denoised(executor(with_row_0(x, row), timestep, options, seed))


def around_model_call(
    executor: Callable[..., Tensor],
    x: Tensor,
    t: Tensor,
    c_concat: Tensor | None = None,
    c_crossattn: Tensor | None = None,
    control: Control | None = None,
    transformer_options: dict[str, Any] | None = None,
    **kwargs: Any,
) -> Tensor:
    """APPLY_MODEL wrapper. x: (rows, channels, height, width), t: the noise level sigma of each row."""
    options = transformer_options or {}
    run = options.get(ROW_REFERENCE)
    rows = None if run is None else run.rows(len(x), options, c_crossattn)
    if rows is not None:
        control = without_control(control, rows)
    return executor(x, t, c_concat, c_crossattn, control, options, **kwargs)
