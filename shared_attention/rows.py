"""Which rows of a model call are references and which are targets.

A call's batch is made of conditioning chunks (cond, uncond, a second positive, ...) of equally many images each:

    row = chunk * images + image

In every chunk one image is the reference and the others are its targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """The layout of a model call: `chunks` chunks of `images` images, of which image `reference` is the reference."""

    chunks: int
    images: int
    reference: int = 0

    @property
    def count(self) -> int:
        """How many rows the call has."""
        return self.chunks * self.images

    def split(self, x: Tensor) -> Tensor:
        """A view of `x` (rows, ...) by chunk and image: (chunks, images, ...)."""
        return x.view(self.chunks, self.images, *x.shape[1:])

    def references(self, x: Tensor) -> Tensor:
        """A view of the reference rows of `x` (rows, ...): (chunks, 1, ...)."""
        return self.split(x).narrow(1, self.reference, 1)

    def targets(self, x: Tensor) -> Tensor:
        """The target rows of `x` (rows, ...): (chunks, images - 1, ...)."""
        chunked = self.split(x)
        before, after = chunked[:, : self.reference], chunked[:, self.reference + 1 :]
        if self.reference == 0:
            return after
        return torch.cat([before, after], dim=1)

    def join(self, references: Tensor, targets: Tensor) -> Tensor:
        """Rows in the call's order: `references` (chunks, 1, ...) and `targets` (chunks, images - 1, ...)."""
        before, after = targets[:, : self.reference], targets[:, self.reference :]
        return torch.cat([before, references, after], dim=1).flatten(0, 1)


def find_rows(count: int, chunks: int, window: Sequence[int] | None = None) -> Rows | None:
    """The rows of a call of `count` rows in `chunks` chunks; None where there is nothing to share.

    window: the indices within the whole batch of the images in this call, where the host samples a batch in windows.
    There is nothing to share in a chunk of one image, in a window that lacks the reference (index 0), or when the rows
    are not chunks of equal length, so that their meaning is unknown.
    """
    if chunks < 1 or count % chunks:
        return None
    images = count // chunks
    order = list(range(images) if window is None else window)
    if images < 2 or len(order) != images or 0 not in order:
        return None
    return Rows(chunks, images, order.index(0))
