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
    """The layout of a model call: `chunks` chunks of `images` images, of which image `reference` is the reference.

    Where `reference` is None all images are targets; where there is one image, it is the reference or a target alone.
    """

    chunks: int
    images: int
    reference: int | None = 0

    @property
    def count(self) -> int:
        """How many rows the call has."""
        return self.chunks * self.images

    @property
    def has_references(self) -> bool:
        return self.reference is not None

    @property
    def has_targets(self) -> bool:
        return self.images > 1 or self.reference is None

    def split(self, x: Tensor) -> Tensor:
        """A view of `x` (rows, ...) by chunk and image: (chunks, images, ...)."""
        return x.view(self.chunks, self.images, *x.shape[1:])

    def references(self, x: Tensor) -> Tensor:
        """A view of the reference rows of `x` (rows, ...): (chunks, 1, ...), or (chunks, 0, ...) without references."""
        if self.reference is None:
            return self.split(x)[:, :0]
        return self.split(x).narrow(1, self.reference, 1)

    def targets(self, x: Tensor) -> Tensor:
        """The target rows of `x` (rows, ...): (chunks, targets, ...)."""
        chunked = self.split(x)
        if self.reference is None:
            return chunked
        if self.reference == 0:
            return chunked[:, 1:]
        return torch.cat([chunked[:, : self.reference], chunked[:, self.reference + 1 :]], dim=1)

    def join(self, references: Tensor, targets: Tensor) -> Tensor:
        """Rows in the call's order: `references` (chunks, 0 or 1, ...) and `targets` (chunks, targets, ...)."""
        reference = self.reference or 0
        return torch.cat([targets[:, :reference], references, targets[:, reference:]], dim=1).flatten(0, 1)


class UnknownRowsError(ValueError):
    """The rows of a call are not those of the run, so that nobody can say which is the reference."""


def find_rows(
    count: int, chunks: int, images: int, window: Sequence[int] | None = None, context: Tensor | None = None
) -> Rows | None:
    """The rows of a call of `count` rows in `chunks` chunks; None where the reference is not among them.

    images: the batch of the sampling run. window: the indices within it of the images in this call, where a batch is
    sampled in windows. context: the call's text, (rows, ...); it tells tiles that are stacked in one call.
    The reference is the image of index 0. Raises UnknownRowsError where the rows are neither chunks of the batch, nor
    of the window, nor of tiles of these.
    """
    order = list(range(images) if window is None else window)
    if 0 not in order:
        return None
    groups, rest = divmod(count, len(order))
    if chunks < 1 or rest or (groups != chunks and not _are_tiles(groups, chunks, len(order), context)):
        raise UnknownRowsError(
            f"a model call has {count} rows, which are not {max(chunks, 1)} times the {len(order)} images of the batch"
        )
    return Rows(groups, len(order), order.index(0))


def find_targets(count: int, chunks: int, images: int, context: Tensor | None = None) -> Rows:
    """The rows of a call all of whose images are targets, as `find_rows`, tiles too where they go through the chunks.

    Its groups of rows are of chunk 0, 1, ... and from 0 again. Raises UnknownRowsError where that is not so.
    """
    groups, rest = divmod(count, images)
    if chunks < 1 or rest or groups < 1 or (groups != chunks and not _repeat_chunks(groups, chunks, context)):
        raise UnknownRowsError(
            f"a model call has {count} rows, which are not {max(chunks, 1)} times the {images} images of the batch"
        )
    return Rows(groups, images, None)


def _repeat_chunks(groups: int, chunks: int, context: Tensor | None) -> bool:
    """Whether groups of rows have the texts of the first ones again and again, which are unlike each other."""
    if groups % chunks or chunks == 1:
        return groups % chunks == 0
    if context is None or context.shape[0] % groups:
        return False
    texts = context.reshape(groups // chunks, chunks, -1)
    return bool((texts == texts[:1]).all()) and len(torch.unique(texts[0], dim=0)) == chunks


def _are_tiles(groups: int, chunks: int, images: int, context: Tensor | None) -> bool:
    """Whether each group of `images` rows is the batch again, for another tile of the pictures or another chunk.

    The text says so: then there are as many kinds of groups as chunks, each equally often and with texts of its own,
    and in one of them the images' texts differ. Tiles in another order, such as image by image, do not pass for this.
    """
    if groups % chunks or groups == 0 or context is None or context.shape[0] != groups * images:
        return False
    kinds, counts = torch.unique(context.reshape(groups, -1), dim=0, return_counts=True)
    texts = [len(torch.unique(kind.view(images, -1), dim=0)) for kind in kinds]
    own_texts = len(torch.unique(kinds.view(len(kinds) * images, -1), dim=0)) == sum(texts)
    equally_often = not bool((counts % (groups // chunks)).any())
    return len(kinds) <= chunks and equally_often and own_texts and max(texts) > 1
