"""Where the subject of a reference is, by its attention to the subject's words.

Each layer's attention to text says how much every place of the picture looks at these words. Places that look at them
most are the subject's (Hertz et al. 2022, Prompt-to-Prompt; for leakage Only-Style, arXiv 2506.09916). Of one model
evaluation all layers count the same, and of the evaluations the last as much as all before it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from .masks import Grid, Mask

SIDE = 32
"""Rows and columns of the map."""


class SubjectMap:
    """What is known of one reference's subject; it grows from evaluation to evaluation of the model.

    What an evaluation finds is known from the next one on, so that it does not matter in which order an evaluation's
    calls come and which layers are before others.
    """

    def __init__(self) -> None:
        self._known: Tensor | None = None
        self._found: list[Tensor] = []
        self._level: float | None = None
        self._mask: Mask | None = None

    def at(self, level: float) -> None:
        """An evaluation at a noise level begins, or goes on."""
        if level == self._level:
            return
        self._level = level
        if self._found:
            new = torch.stack(self._found).mean(0)
            self._known = new if self._known is None else torch.lerp(self._known, new, 0.5)
            self._found, self._mask = [], Mask(subject_in(self._known.cpu())[None])  # not every GPU has float64

    def add(self, mass: Tensor, grid: Grid) -> None:
        """A layer has found this mass on the subject's words, (tokens,) of the reference's picture."""
        frames, height, width = grid
        relative = mass.float().view(frames, 1, height, width).mean(0, keepdim=True)
        relative = relative / relative.mean().clamp_min(1e-12)
        self._found.append(interpolate(relative, (SIDE, SIDE), mode="bilinear")[0, 0])

    @property
    def is_found(self) -> bool:
        """Whether any layer has found anything."""
        return bool(self._found) or self._known is not None

    @property
    def mask(self) -> Mask | None:
        """One where the subject is, zero where it is not; None while nothing is known."""
        return self._mask


def subject_in(scores: Tensor) -> Tensor:
    """From 0 at the mean of the lower scores to 1 at that of the higher, parted as Otsu (1979) does; like `scores`.

    The parting maximises the variance between the two. Soft, so that a rounding error moves no token from one to the
    other.
    """
    ordered = scores.flatten().double().sort().values
    count = torch.arange(1, len(ordered), device=scores.device)
    sums = ordered.cumsum(0)
    lower, higher = sums[:-1] / count, (sums[-1] - sums[:-1]) / (len(ordered) - count)
    best = (count * (len(ordered) - count) * (higher - lower).square()).argmax()
    span = (higher[best] - lower[best]).clamp_min(1e-12)
    return ((scores.double() - lower[best]) / span).clamp(0, 1).to(scores.dtype)
