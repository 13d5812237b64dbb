"""A joint attention that shares: what it has of its references, what its targets see of them.

Tensors are (chunks, images, heads, tokens, channels), of text and image tokens together.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor

from ...adain import Statistics, adain
from ...attending import Projections
from ...keeping import Keeping
from ...layers import LayerKey
from ...places import Places
from ...positions import ReferencePositions
from ...protection import protected
from ...rotary import Rotary
from ...rows import Rows
from ...sharing import Features, GivenStatistics, extensions, features, given_statistics, kept, share
from ...sources import Source, Weighted
from ..backend import HostAttention
from ..calls import Call
from .layouts import Pick, flat, for_heads, rotated

PLACING = "placing"
_ROTATION = "rotation"
"""Notes of a call: a Placing; by where they are in memory the rotations of its tokens (held, so that nothing else gets
there), and those that a bank keeps."""


@dataclass(frozen=True)
class Placing:
    """Where references' keys stand in this call; `turn` None where the model's positions are absolute.

    grid: frames, height and width of the call's images in tokens. is_centred: see Transformer.
    """

    positions: ReferencePositions
    turn: Rotary | None
    axes: str
    grid: tuple[int, int, int]
    is_centred: bool


class JointFeatures(NamedTuple):
    """What targets read of a reference: keys as they are before rotation, and what rotated its tokens.

    rotation: the matrices of a Rotary, a row for each chunk or one for all; None where they are the target's own, of
    the same call, and where positions are absolute. corner: those of the image's first token, which may not be kept.
    """

    features: Features
    rotation: Tensor | None = None
    corner: Tensor | None = None


@dataclass(frozen=True)
class Joint:
    """A joint attention that shares; `image` are the tokens of its images, `rotary` their rotation.

    is_rotated: whether queries and keys have been rotated when they are aligned. prepared: what targets have been
    aligned to before, where they have.
    """

    call: Call
    source: Source
    slot: Hashable
    image: slice
    rotary: Rotary | None
    is_rotated: bool = True
    prepared: list[Weighted[JointFeatures]] | None = None

    @property
    def rows(self) -> Rows:
        return self.source.rows

    def features(self, of_all: Projections) -> list[Weighted[JointFeatures]]:
        """Of the references' images; statistics (chunks, 1, heads, 1, channels)."""
        return self.prepared or self.source.of(self.slot, lambda: self._features(of_all))

    def _features(self, of_all: Projections) -> JointFeatures:
        settings, keeping = self.call.settings, self.source.keeping
        query, key, value = (self.rows.references(x)[..., self.image, :] for x in of_all)
        query, key = (self._back(x, self.rows.references) for x in (query, key))
        style = self.source.style_mask
        mask = None if style is None else style.of_tokens(self._placing.grid)[0]
        places = None if self.call.run.watch is None else Places.of(self._placing.grid, len(key))
        known = self.source.subject.mask if self.source.subject else None
        subject = None if known is None else known.of_tokens(self._placing.grid)[0]
        found = features(Projections(query, key, value), settings, mask, places, subject)
        return JointFeatures(found) if keeping is None else self._kept(found, keeping)

    def _kept(self, found: Features, keeping: Keeping) -> JointFeatures:
        in_models_precision = found._replace(key=found.key.to(found.value.dtype))
        stored = kept(in_models_precision, keeping, self._placing.grid)
        return JointFeatures(stored) if self.rotary is None else JointFeatures(stored, *self._kept_rotation(keeping))

    def _kept_rotation(self, keeping: Keeping) -> tuple[Tensor, Tensor]:
        """That of the references' tokens which are kept, and of the first of all.

        Layers have them in common, so they are thinned once a call.
        """
        matrices = self._rotary_of(self.rows.references).matrices
        key = _ROTATION, matrices.data_ptr(), matrices.shape
        if key not in self.call.notes:
            thinned = keeping.thinned(matrices, self._placing.grid, axis=2)
            self.call.notes[key] = matrices, (thinned, matrices[:, :, :1].clone())
        return cast("tuple[Tensor, Tensor]", self.call.notes[key][1])

    def aligned(self, of_all: Projections, given: GivenStatistics) -> Projections:
        """Of the targets, (chunks, targets, heads, tokens, channels), their images with the references' statistics."""
        targets = map(self.rows.targets, of_all)
        if self.prepared:
            return Projections(*targets)
        strength = self.call.settings.strength
        each = zip(targets, given, (True, True, False), strict=True)
        return Projections(*(self._aligned(x, stats, has_positions, strength) for x, stats, has_positions in each))

    def share(
        self,
        aligned: Projections,
        given: Sequence[Weighted[JointFeatures]],
        attend: HostAttention,
        mask: Tensor | None,
    ) -> Tensor:
        """What the targets get from rotated queries and keys: (chunks, targets, heads, tokens, channels)."""
        heads, settings = aligned.key.shape[2], self.call.settings
        placed = [Weighted(self._placed(each.features, aligned.key, heads), each.weight) for each in given]
        shared = extensions(placed, settings, self.image.stop - self.image.start, aligned.key)
        of_image = aligned._replace(query=aligned.query[..., self.image, :])
        seen = mask[..., self.image, :] if mask is not None and mask.shape[-2] > 1 else mask
        grid, amount = self._placing.grid, self.call.protect_content
        if amount:
            shared = protected(of_image, shared, amount, grid, settings.scale, attend, seen)
        if self.call.looking is not None:
            blend = None if self.call.target_mask is None else self.call.target_mask.of_tokens(grid)
            layer = cast("tuple[LayerKey, int]", self.slot)[0]
            self.call.looking.at(layer, of_image, shared, grid, settings.scale, attend, seen, target_mask=blend)
        return share(aligned, shared, settings.scale, attend, mask)

    def find_subject(self, references: Projections, attend: HostAttention, mask: Tensor | None) -> None:
        """Find by the attention of the references' pictures to text where their subject is, where somebody asks.

        references: rotated, of all tokens, (chunks, heads, tokens, channels).
        """
        finding, tokens = self.call.finding, references.query.shape[-2]
        if finding is None:
            return
        rooms = ((0, self.image.start), (self.image.stop, tokens - self.image.stop))
        start = next((at for at, room in rooms if room >= finding.text), None)
        if start is None:  # some blocks attend to the image alone, too
            return
        query = references.query[..., self.image, :]
        if mask is not None and mask.shape[-2] > 1:
            mask = mask[..., self.image, :]
        values = finding.values(references.value, start)
        with torch.no_grad():
            finding.add(attend(query, references.key, values, mask), self._placing.grid)

    def target_mask(self, like: Tensor) -> Tensor:
        """(1, targets or 1, 1, tokens, 1); text speaks of the whole picture, so that it has the mean of the mask."""
        assert self.call.target_mask is not None
        image = self.call.target_mask.of_tokens(self._placing.grid)
        every = image.mean(-1, keepdim=True).repeat(1, like.shape[-2])
        every[:, self.image] = image
        return every[None, :, None, :, None]

    def _aligned(self, x: Tensor, given: Statistics | None, has_positions: bool, strength: float) -> Tensor:
        """Targets' tokens (chunks, targets, heads, tokens, channels), the images' with the statistics given."""
        if given is None:
            return x
        tokens = x[..., self.image, :]
        if has_positions:
            aligned = self._forth(adain(self._back(tokens, self.rows.targets), given, strength), self.rows.targets)
        else:
            aligned = adain(tokens, given, strength)
        return torch.cat([x[..., : self.image.start, :], aligned.to(x.dtype), x[..., self.image.stop :, :]], -2)

    def _back(self, x: Tensor, role: Pick) -> Tensor:
        """Tokens of the images of references or targets as they were before rotation."""
        return rotated(self._rotary_of(role).inverse(), x) if self.rotary and self.is_rotated else x

    def _forth(self, x: Tensor, role: Pick) -> Tensor:
        return rotated(self._rotary_of(role), x) if self.rotary and self.is_rotated else x

    def _rotary_of(self, role: Pick) -> Rotary:
        assert self.rotary is not None
        return self.rotary.of_rows(flat(role), self.rows.count)

    def _placed(self, given: JointFeatures, like: Tensor, heads: int) -> Features:
        """A reference's keys and values, (chunks, 1, heads, tokens, channels), where the targets see them."""
        key, value = given.features.key.to(like.device), given.features.value.to(like)
        rotation = self._rotation_of(given)
        placed = key if rotation is None else rotated(rotation, key)
        return given.features._replace(key=for_heads(placed.to(like.dtype), heads), value=for_heads(value, heads))

    def _rotation_of(self, given: JointFeatures) -> Rotary | None:
        """What the keys go through; the same for all layers whose tokens are rotated alike."""
        placing = self._placing
        if self.rotary is None or placing.turn is None:
            return None
        first = self.rows.reference or 0  # of the images of a chunk: all have the same positions
        target = self.rotary.of_rows(lambda matrices: self.rows.split(matrices)[:, first], self.rows.count)
        if given.rotation is None or given.corner is None:
            return placing.positions.rotation(target, target, placing.turn, placing.axes)
        reference, corner = (
            Rotary(each.to(target.matrices.device), target.halves) for each in (given.rotation, given.corner)
        )
        return placing.positions.rotation(reference, target, placing.turn, placing.axes, placing.is_centred, corner)

    @property
    def _placing(self) -> Placing:
        placing: Placing = self.call.notes[PLACING]
        return placing


def statistics_of(given: Sequence[Weighted[JointFeatures]]) -> GivenStatistics:
    return given_statistics([Weighted(each.features.features, each.weight) for each in given])
