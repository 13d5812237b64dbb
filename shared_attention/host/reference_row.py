"""A given latent as row 0 of everything that a model samples.

Whatever the sampler does, at every model call row 0 is the reference at the noise level of that call, and what the
model is taken to have denoised there is the clean reference. So the row is right within multi-stage steps too, and the
sampler itself carries it to the reference.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast

import torch
from comfy.patcher_extension import WrappersMP
from comfy.sample import prepare_noise_inner
from torch import Tensor

from ..trajectory import CleanerStart, NoiseMatched, ReferencePath, Trajectory
from .wrappers import SamplingCallback, attach

KEY = "style_aligned.reference_row"


@dataclass(frozen=True, eq=False)
class _Run:
    """The reference of the sampling run that is going on, in the sampler's space."""

    clean: Tensor
    path: ReferencePath

    def shown_to(self, callback: SamplingCallback) -> SamplingCallback:
        """A callback that is told of the clean reference, also after a step for which another node's cache answered."""

        def tell(step: int, denoised: Tensor, x: Tensor, steps: int) -> None:
            callback(step, self.denoised(denoised), x, steps)

        return tell

    def denoised(self, denoised: Tensor) -> Tensor:
        """What the model is taken to have denoised: the clean reference in row 0."""
        return torch.cat([self.clean.to(denoised), denoised[1:]])


_current_run: ContextVar[_Run | None] = ContextVar(KEY, default=None)


def hold_reference(model: Any, row: ReferenceRow) -> Any:
    """A clone of the host's `model` that samples with `row`; it takes the place of one attached before."""
    wrappers: dict[str, Callable[..., Tensor]] = {
        WrappersMP.OUTER_SAMPLE: row.around_run,
        WrappersMP.PREDICT_NOISE: row.around_prediction,
    }
    return attach(model, KEY, wrappers, "a reference latent")


class ReferenceRow:
    """The wrappers that hold a reference in row 0.

    reference: (1, channels, height, width), as in the host's LATENT. trajectory: the inverted reference; without one
    the reference is noise-matched. offset: how many levels cleaner a trajectory starts (see CleanerStart).
    """

    def __init__(self, reference: Tensor, trajectory: Trajectory | None = None, offset: int = 0) -> None:
        self.reference = reference
        self.trajectory = trajectory
        self.offset = offset

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
        if denoise_mask is not None:  # one value a pixel by now; a mask of the targets is none of the reference
            denoise_mask = denoise_mask.clone()
            denoise_mask[:1] = 1.0
        run = self._run(executor.class_obj, noise, seed)
        shown = callback and run.shown_to(callback)
        token = _current_run.set(run)
        try:
            out = cast(
                Tensor,
                executor(noise, latent_image, sampler, sigmas, denoise_mask, shown, disable_pbar, seed, **kwargs),
            )
        finally:
            _current_run.reset(token)
        # Some samplers end between noise levels; whichever it was, the reference comes back as it was given.
        out[:1] = self.reference.to(out)
        return out

    def around_prediction(
        self,
        executor: Callable[..., Tensor],
        x: Tensor,
        timestep: Tensor,
        model_options: dict[str, Any] | None = None,
        seed: int | None = None,
    ) -> Tensor:
        """PREDICT_NOISE wrapper. x: (images, channels, height, width), timestep: sigma for each image."""
        run = _current_run.get()
        if run is None:
            return executor(x, timestep, model_options or {}, seed)
        x = torch.cat([run.path.at(float(timestep.flatten()[0])).to(x), x[1:]])
        return run.denoised(executor(x, timestep, model_options or {}, seed))

    def _run(self, guider: Any, noise: Tensor, seed: int | None) -> _Run:
        device = guider.model_patcher.load_device
        # The model itself may not be loaded yet, with the latent format that another node gave it.
        latent_format = guider.model_patcher.get_model_object("latent_format")
        clean = latent_format.process_in(self.reference.to(device, torch.float32))
        if self.trajectory is None:
            own_noise = noise[:1] if torch.count_nonzero(noise[:1]) else self._noise_of_seed(seed, len(noise) - 1)
            scaling = guider.model_patcher.get_model_object("model_sampling").noise_scaling

            def noise_scaling(sigma: float, noise: Tensor, clean: Tensor) -> Tensor:
                return cast(Tensor, scaling(torch.tensor([sigma], device=device), noise, clean))

            return _Run(clean, NoiseMatched(clean, own_noise.to(device, torch.float32), noise_scaling))
        if self.offset > 0:
            return _Run(clean, CleanerStart(self.trajectory, self.offset))
        return _Run(clean, self.trajectory)

    def _noise_of_seed(self, seed: int | None, index: int) -> Tensor:
        """The noise that row 0 had in an earlier stage with this seed, for a stage that adds none itself."""
        generator = torch.Generator().manual_seed(seed or 0)
        return cast(Tensor, prepare_noise_inner(self.reference.float().cpu(), generator, [index]))

    def _require_same_size(self, noise: Tensor) -> None:
        if noise.shape[1:] != self.reference.shape[1:]:
            height, width = self.reference.shape[-2:]
            raise ValueError(
                f"The latent to sample is {tuple(noise.shape[1:])} (channels, height, width), the reference "
                f"{tuple(self.reference.shape[1:])}. Connect the latent output of Style Aligned: Reference Latent to "
                f"the sampler, or encode a picture of the size that you sample; this gives {width} x {height}."
            )
