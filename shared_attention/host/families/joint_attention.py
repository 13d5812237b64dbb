"""Shared attention in transformers, whose text and image tokens attend jointly (AlignedGen, arXiv 2509.17088).

    Q^, K^ = [own text ; AdaIN of the image's tokens to the reference's]
    out = softmax(Q^ [K^ ; scale * K_r]^T / sqrt(d) + [0 ; shift]) [V_t ; V_r]

r are the tokens of the reference's image; everything else (text, padding, reference images of edit models) stays own.
AdaIN is done before positions are rotated in. Attention sees rotated queries and keys, so the image's are taken back,
aligned and rotated again; where a model calls patches before it rotates (`Transformer.is_patched_before_rotation`),
they are aligned there, with less than half of the memory traffic. The reference's keys are placed as the model's
ReferencePositions say. A reference attends alone, with the very arguments that it has without sharing.

One override of the host's attention serves every family. It acts where `noting` has noted a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor

from ...adain import Statistics, adain
from ...keeping import Keeping
from ...masks import blended
from ...positions import KEY as POSITIONS
from ...positions import ReferencePositions
from ...rotary import Rotary
from ...rows import Rows
from ...sharing import Features, GivenStatistics, Projections, extensions, features, given_statistics, kept, share
from ...sources import Source, Weighted
from ..backend import OVERRIDE, HostAttention, takes_mask
from ..calls import Call, Options, current_call
from ..compiling import is_compiled, uncompiled
from .layouts import Pick, additive, flat, for_heads, heads_apart, of_rows, rotated
from .noting import current_layer, current_preference, noting_layers, uncompiled_module

if TYPE_CHECKING:
    from .transformer import Layer, Transformer


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


PLACING = "placing"
_PREPARED = "prepared"
_ROTATION = "rotation"
"""Notes of a call: a Placing; the layer that has been aligned before rotation, and its _Joint; by where they are in
memory the rotations of its tokens (held, so that nothing else gets there), and those that a bank keeps."""
PATCH = "attn1_patch"
"""The host's key of the patches that some of its models call before they rotate."""


@contextmanager
def share_joint_attention(family: Transformer, unet: Any, x: Tensor, options: Options, call: Call) -> Iterator[None]:
    """Within the context the joint attentions of the selected layers share in a model call on `x`."""
    if call.source is None and not is_compiled(unet, options):
        yield
        return
    if OVERRIDE in options:
        call.previous[OVERRIDE] = options[OVERRIDE]
    options[OVERRIDE] = shared_joint_attention
    if family.is_patched_before_rotation and not _is_compiled(family, unet, options):
        patches = options.get("patches", {})  # the last one sees what the others make of queries and keys
        options["patches"] = {**patches, PATCH: [*patches.get(PATCH, ()), align_before_rotation]}
    call.notes[PLACING] = _placing(family, unet, x, options)
    with noting_layers(family, unet, x, call.layers):
        yield


def _is_compiled(family: Transformer, unet: Any, options: Options) -> bool:
    """Whether torch.compile wraps the model or its blocks; a patch would break their graphs off before attention."""
    if is_compiled(unet, options):
        return True
    return any(uncompiled_module(module) is not module for _, module in family.modules(unet))


def _placing(family: Transformer, unet: Any, x: Tensor, options: Mapping[str, Any]) -> Placing:
    positions = options.get(POSITIONS, ReferencePositions())
    image = family.image(unet, x)
    turn = family.turn(unet, image.width * family.step(unet, options), x.device)
    grid = (image.frames, image.height, image.width)
    return Placing(positions, turn, family.pair_axes(unet) or "", grid, family.is_centred)


@uncompiled
def align_before_rotation(q: Tensor, k: Tensor, v: Tensor, pe: Tensor | None = None, **_: Any) -> dict[str, Tensor]:
    """A patch of the host's: it sees queries and keys before they are rotated by `pe`, (rows, heads, tokens, channels).

    Returns what it changes, by the host's names. Keys and values may have fewer heads than queries.
    """
    layer = current_layer.get()
    # Without `pe` another node has rotated them itself: that is for attention to take back.
    joint = None if pe is None else _joint(current_call.get(), layer, q, k, skip_reshape=True)
    if joint is None or joint.call.target_mask is not None:  # outside of a mask, targets attend as they are
        return {}
    joint = replace(joint, is_rotated=False)
    own, rows = Projections(q, k, v), joint.rows
    given = joint.features(own)
    joint.call.notes[_PREPARED] = layer, replace(joint, prepared=given)
    if not rows.has_targets:
        return {}
    to = _statistics(given)
    changed = zip("qkv", own, joint.aligned(own, to), to, strict=True)
    return {name: rows.join(rows.references(x), new) for name, x, new, stats in changed if stats is not None}


@uncompiled
def shared_joint_attention(
    attention: Callable[..., Tensor],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    heads: int,
    mask: Tensor | None = None,
    attn_precision: Any = None,
    skip_reshape: bool = False,
    skip_output_reshape: bool = False,
    **further: Any,
) -> Tensor:
    """The override of the host's attention: it sees every attention of the model, queries and keys rotated.

    q, k, v: (rows, tokens, heads * channels), or (rows, heads, tokens, channels) where `skip_reshape` says so.
    """
    call, layer = current_call.get(), current_layer.get()
    previous = call.previous.get(OVERRIDE) if call else None
    if previous is None and (asked := current_preference.get()) is not None:
        attention = asked.function
    compute = partial(
        previous or attention, *([attention] if previous else []), attn_precision=attn_precision, **further
    )
    own = partial(compute, skip_reshape=skip_reshape, skip_output_reshape=skip_output_reshape)
    joint = _prepared(call, layer) or _joint(call, layer, q, k, skip_reshape)
    if joint is None:
        return own(q, k, v, heads, mask=mask)
    rows, outputs = joint.rows, []
    if rows.has_references:
        references = flat(rows.references)
        outputs.append(own(*map(references, (q, k, v)), heads, mask=of_rows(mask, references, rows)).unsqueeze(1))
    if not skip_reshape:
        q, k, v = (heads_apart(x, q.shape[-1] // heads) for x in (q, k, v))
    given = joint.features(Projections(q, k, v))
    if rows.has_targets:
        apart = partial(compute, skip_reshape=True, skip_output_reshape=True)
        attend = HostAttention(
            lambda q, k, v, bias: apart(q, k, v, heads, mask=bias), takes_mask(attention, previous), joint.call.run
        )
        own_mask = additive(of_rows(mask, flat(rows.targets), rows), q.dtype)
        aligned = joint.aligned(Projections(q, k, v), _statistics(given))
        out = joint.share(aligned, given, attend, own_mask)
        if joint.call.target_mask is not None:
            query, key, value = map(flat(rows.targets), (q, k, v))
            alone = attend(query, key, value, own_mask)
            out = blended(alone.view(out.shape), out, joint.target_mask(out))
        outputs.append(out if skip_output_reshape else out.transpose(-2, -3).flatten(-2))
    return rows.join(*outputs) if len(outputs) == 2 else outputs[0].flatten(0, 1)


@dataclass(frozen=True)
class _Joint:
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
        found = features(Projections(query, key, value), settings, mask)
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
        own_tokens = self.image.stop - self.image.start
        return share(aligned, extensions(placed, settings, own_tokens, aligned.key), settings.scale, attend, mask)

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


def _statistics(given: Sequence[Weighted[JointFeatures]]) -> GivenStatistics:
    return given_statistics([Weighted(each.features.features, each.weight) for each in given])


def _prepared(call: Call | None, layer: Layer | None) -> _Joint | None:
    """The layer, where its targets have been aligned before they were rotated."""
    of_layer, joint = (call.notes.pop(_PREPARED, None) if call else None) or (None, None)
    return joint if layer is not None and of_layer is layer else None


def _joint(call: Call | None, layer: Layer | None, q: Tensor, k: Tensor, skip_reshape: bool) -> _Joint | None:
    """The layer that shares; None outside of one, where sharing is off, and where the tokens are not those noted."""
    if call is None or call.source is None or layer is None:
        return None
    axis = 2 if skip_reshape else 1
    queries, keys, rows = q.shape[axis], k.shape[axis], call.source.rows
    image, number = layer.image(queries), f"{layer.key[0]}.{layer.key[1]}"
    fits = q.shape[0] == k.shape[0] == rows.count and queries == keys and 0 <= image.start < image.stop <= queries
    if not fits or (layer.rotary is not None and image.stop > layer.rotary.tokens):
        call.run.report(
            f"the attention of {number} has {queries} queries and {keys} keys in {q.shape[0]} rows, which are not the "
            "tokens of its images (another node rearranges them); sharing stands aside in such layers."
        )
        return None
    ordinal = call.notes[layer.key] = call.notes.get(layer.key, -1) + 1  # some blocks attend twice
    if not call.source.knows((layer.key, ordinal)):
        return None
    call.run.shared_layers += 1
    rotary = None if layer.rotary is None else layer.rotary.of_tokens(image)
    return _Joint(call, call.source, (layer.key, ordinal), image, rotary)
