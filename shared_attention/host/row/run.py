"""The reference of one sampling run: what it is at each noise level, for the model, previews and the next stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from comfy.utils import common_upscale
from torch import Tensor

from ...fixed_noise import fixed_noise
from ...rows import Rows, UnknownRowsError, find_rows
from ...trajectory import CleanerStart, NoiseMatched, ReferencePath, Trajectory
from ..calls import ROW_REFERENCE, window_of
from ..wrappers import SamplingCallback

RESIZING = "bislerp"
"""As the host's samplers that change the size in mid-run resize latents unless told otherwise."""


@dataclass(frozen=True, eq=False)
class ReferenceRun:
    """The reference of a run, in the options of all its model calls: the host's threads and copies of them keep it.

    reference: (1, channels, height, width) as in the host's LATENT. clean: the same in the sampler's space. images: how
    many rows the run's batch has. path: what the model is shown. level: what the reference is at a noise level, which
    differs from `path` where that shows a cleaner one.
    """

    reference: Tensor
    clean: Tensor
    images: int
    path: ReferencePath
    level: ReferencePath
    matched: NoiseMatched
    model_sampling: Any
    latent_format: Any
    _resized: dict[tuple[int, ...], NoiseMatched] = field(default_factory=dict)

    def at(self, sigma: float, size: Sequence[int], visit: int = 0) -> Tensor:
        """What the model is shown of the reference at noise level `sigma` by a sampler that is at `size`.

        visit: how often the sampler has been at that level before.
        """
        return self._path_of(size).at(sigma, visit)

    def visits(self, sigma: float) -> int:
        """How many latents of the reference there are at that level."""
        return self.path.visits(sigma)

    def denoised(self, denoised: Tensor) -> Tensor:
        """What the model is taken to have denoised: the clean reference in row 0."""
        return with_row_0(denoised, self._clean_of(denoised.shape[-2:]))

    def shown_to(self, callback: SamplingCallback) -> SamplingCallback:
        """A callback that is told of the clean reference, also after a step for which another node's cache answered."""

        def tell(step: int, denoised: Tensor, x: Tensor, steps: int) -> None:
            callback(step, self.denoised(denoised), x, steps)

        return tell

    def latent_at(self, sigma: float) -> Tensor:
        """The reference as a LATENT of the host that is left at noise level `sigma`: the given one to the bit at 0."""
        if sigma == 0:
            return self.reference
        return self._latent(sigma, self.level)

    def leave(self, samples: Tensor, sigma: float) -> Tensor:
        """A LATENT's `samples` that a stage ends with at `sigma`, row 0 being the reference at that level."""
        size = samples.shape[-2:]
        is_own = size == self.clean.shape[-2:]
        row = self.latent_at(sigma) if is_own else self._latent(sigma, self._path_of(size))
        return with_row_0(samples, row)

    def rows(self, count: int, options: Mapping[str, Any], context: Tensor | None = None) -> Rows | None:
        """The rows of a model call of `count` rows; None where the reference is not in it, or cannot be told.

        options: the call's. context: its text, (rows, tokens, channels).
        """
        chunks = len(options.get("cond_or_uncond", ()))
        try:
            return find_rows(count, chunks, self.images, window_of(options), context)
        except UnknownRowsError:
            return None

    def _latent(self, sigma: float, path: ReferencePath) -> Tensor:
        level = torch.tensor([sigma], device=self.clean.device)
        x = path.at(sigma).to(self.clean)
        return cast(Tensor, self.latent_format.process_out(self.model_sampling.inverse_noise_scaling(level, x)))

    def _clean_of(self, size: Sequence[int]) -> Tensor:
        return self.clean if tuple(size) == self.clean.shape[-2:] else self._resized_path(size).clean

    def _path_of(self, size: Sequence[int]) -> ReferencePath:
        if tuple(size) == self.clean.shape[-2:]:
            return self.path
        if self.path is not self.matched:
            height, width = self.clean.shape[-2:]
            raise ValueError(
                f"The sampler changes the size in mid-run, from {width} x {height} to {size[1]} x {size[0]} in latent "
                "pixels; an inverted trajectory has one size. Disconnect trajectory from Style Aligned: Reference "
                "Latent, or take a sampler that keeps the size."
            )
        return self._resized_path(size)

    def _resized_path(self, size: Sequence[int]) -> NoiseMatched:
        height, width = size
        if (height, width) not in self._resized:
            clean = common_upscale(self.clean, width, height, RESIZING, "disabled")
            noise = fixed_noise(self.reference, size).to(self.clean)
            self._resized[height, width] = NoiseMatched(clean, noise, self.matched.noise_scaling)
        return self._resized[height, width]


def start_run(model: Any, reference: Tensor, images: int, trajectory: Trajectory | None, offset: int) -> ReferenceRun:
    """The run of a batch of `images` with the host's `model`, which may not be loaded yet.

    reference: (1, channels, height, width), as in the host's LATENT. trajectory: the inverted reference; without one
    the reference is noise-matched. offset: how many levels cleaner a trajectory starts (see CleanerStart).
    """
    device = model.load_device
    # Not the model's own: another node may have given it others.
    latent_format, model_sampling = model.get_model_object("latent_format"), model.get_model_object("model_sampling")
    clean = latent_format.process_in(reference.to(device, torch.float32))
    matched = NoiseMatched(clean, fixed_noise(reference).to(clean), _scaling(model_sampling))
    level: ReferencePath = matched if trajectory is None else trajectory
    path = level
    if trajectory is not None and offset > 0:
        path = CleanerStart(trajectory, offset, float(getattr(model_sampling, "sigma_data", 1.0)))
    return ReferenceRun(reference, clean, images, path, level, matched, model_sampling, latent_format)


def with_row_0(x: Tensor, row: Tensor) -> Tensor:
    """A copy of `x` (images, ...) with `row` (1, ...) as its first.

    In the layout of `x`: samplers draw noise in the order in which what they have lies in memory.
    """
    x = x.clone()
    x[:1] = row.to(x)
    return x


def run_of(model_options: Mapping[str, Any]) -> ReferenceRun | None:
    """The run that a call with the host's `model_options` belongs to."""
    return cast("ReferenceRun | None", model_options.get("transformer_options", {}).get(ROW_REFERENCE))


def _scaling(model_sampling: Any) -> Callable[[float, Tensor, Tensor], Tensor]:
    def noise_scaling(sigma: float, noise: Tensor, clean: Tensor) -> Tensor:
        level = torch.tensor([sigma], device=clean.device)
        return cast(Tensor, model_sampling.noise_scaling(level, noise, clean))

    return noise_scaling
