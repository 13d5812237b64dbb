"""The path of a sampled image: its latent whenever the sampler asked the model for a prediction.

A model that records hands its path on before anything is sampled. It fills while a sampler runs, and whoever needs it
comes after the sampler, whose latent it needs as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ..trajectory import LatentSpace, Trajectory
from .reference_latent import kind_of, latent_space, require_matching
from .wrappers import attach

KEY = "style_aligned.recorded_path"
_RUNS_KEPT = 4
_SAME_IMAGE = 1e-3


class RecordedPath:
    """What a model of one kind has sampled: the paths of the first image of its last runs, on the CPU.

    They outlive the runs, in the host's cache of what nodes gave: that is what recording is for.
    """

    def __init__(self, space: LatentSpace, model: str, latent_format: str) -> None:
        self._kind = (space, model, latent_format)
        self._runs: list[Trajectory] = []
        self._unfinished: _Levels | None = None

    def trajectory_of(self, clean: Tensor) -> Trajectory:
        """The path that ends in `clean` (1, channels, ...), in the sampler's space. Raises ValueError without one."""
        for run in reversed(self._runs):
            same_size = run.clean.shape == clean.shape
            if same_size and float((run.clean - clean).norm()) <= _SAME_IMAGE * float(clean.norm()):
                return run
        raise ValueError(
            "Style Aligned: Record has no path of this reference. Sample with the model that it gives, connect the "
            "latent of that sampler as the reference (the first image of its batch), and let the sampler run again "
            "where it took its result from the cache: a new seed does."
        )

    def around_run(
        self, executor: Any, noise: Tensor, latent: Tensor, sampler: Any, sigmas: Tensor, *args: Any, **kwargs: Any
    ) -> Tensor:
        """OUTER_SAMPLE wrapper. noise, latent: (images, channels, ...)."""
        guider = executor.class_obj
        first, last = float(sigmas[0]), float(sigmas[-1])  # some samplers write in their sigmas
        levels = self._begin(first)
        # Not in the options of model calls: compiled graphs take the keys of one call's to be those of all.
        guider.model_options[KEY] = levels
        try:
            out = cast(Tensor, executor(noise, latent, sampler, sigmas, *args, **kwargs))
        finally:
            guider.model_options.pop(KEY, None)
        latent_format = guider.model_patcher.get_model_object("latent_format")
        self._finish(levels, latent_format.process_in(out[:1].float().cpu()), last)
        return out

    def _begin(self, first_sigma: float) -> _Levels:
        """The levels of a new run, or of one that goes on where the last one stopped."""
        before, self._unfinished = self._unfinished, None
        return before if before is not None and before.end == first_sigma else _Levels()

    def _finish(self, levels: _Levels, clean: Tensor, last_sigma: float) -> None:
        """Take over a run that ended at `last_sigma` with `clean` (1, channels, ...), in the sampler's space."""
        if last_sigma > 0:
            levels.end, self._unfinished = last_sigma, levels
        elif levels.latents:
            self._runs = [*self._runs, levels.trajectory(clean, *self._kind)][-_RUNS_KEPT:]


class _Levels:
    """The noise levels of a run in the order of its model calls, and the latent at each."""

    def __init__(self) -> None:
        self.sigmas: list[float] = []
        self.latents: list[Tensor] = []
        self.end = 0.0

    def add(self, sigma: float, x: Tensor) -> None:
        if sigma > 0:
            self.sigmas.append(sigma)
            self.latents.append(x[:1].detach().to("cpu", torch.float32, copy=True))

    def trajectory(self, clean: Tensor, space: LatentSpace, model: str, latent_format: str) -> Trajectory:
        order = sorted(range(len(self.sigmas)), key=self.sigmas.__getitem__)  # stable: visits of a level stay in order
        sigmas = torch.tensor([0.0, *(self.sigmas[place] for place in order)])
        latents = torch.cat([clean, *(self.latents[place] for place in order)])
        return Trajectory(sigmas, latents, space, model, latent_format)


def record_path(model: Any) -> tuple[Any, RecordedPath]:
    """A clone of the host's `model` that records, and what it records."""
    path = RecordedPath(latent_space(model), *kind_of(model))
    wrappers: dict[str, Callable[..., Any]] = {
        WrappersMP.OUTER_SAMPLE: path.around_run,
        WrappersMP.PREDICT_NOISE: _around_prediction,
    }
    return attach(model, KEY, wrappers, "a recorder"), path


def _around_prediction(executor: Any, x: Tensor, timestep: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """PREDICT_NOISE wrapper."""
    levels: _Levels | None = executor.class_obj.model_options.get(KEY)
    if levels is not None:
        levels.add(float(timestep.flatten()[0]), x)
    return cast(Tensor, executor(x, timestep, *args, **kwargs))


def matching_trajectory(model: Any, reference: Tensor, given: Trajectory | RecordedPath | None) -> Trajectory | None:
    """The trajectory of `reference`, the samples of a LATENT; None without a given one.

    Raises ValueError where what is given is not the path of that reference with a model like this one.
    """
    if isinstance(given, RecordedPath):
        clean = model.get_model_object("latent_format").process_in(reference.float().cpu())
        given = given.trajectory_of(clean)
    if given is not None:
        require_matching(model, reference, given)
    return given
