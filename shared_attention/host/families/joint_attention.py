"""Shared attention in transformers, whose text and image tokens attend jointly (AlignedGen, arXiv 2509.17088).

    Q^, K^ = [own text ; AdaIN of the image's tokens to the reference's]
    out = softmax(Q^ [K^ ; scale * K_r]^T / sqrt(d) + [0 ; shift]) [V_t ; V_r]

r are the tokens of the reference's image; everything else (text, padding, reference images of edit models) stays own.
AdaIN is done before positions are rotated in: the host hands over rotated queries and keys, so the image's are taken
back, aligned and rotated again. The reference's keys are placed as the model's ReferencePositions say. A reference
attends alone, with the very arguments that it has without sharing.

One override of the host's attention serves every family. It acts where `noting` has noted a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...adain import Statistics, adain, statistics
from ...positions import KEY as POSITIONS
from ...positions import ReferencePositions
from ...rotary import Rotary
from ...rows import Rows
from ...sharing import Features, Projections, share
from ...sources import Source
from ..backend import OVERRIDE, HostAttention, takes_mask
from ..calls import Call, Options, current_call
from ..compiling import is_compiled, uncompiled
from .noting import current_layer, noting_layers

if TYPE_CHECKING:
    from .transformer import Layer, Transformer

Pick = Callable[[Tensor], Tensor]
"""Some rows of a tensor (rows, ...), such as the references' or the targets' (chunks, images, ...)."""


@dataclass(frozen=True)
class Placing:
    """Where the reference's keys stand in this call; `turn` None where the model's positions are absolute."""

    positions: ReferencePositions
    turn: Rotary | None
    axes: str


PLACING = "placing"


@contextmanager
def share_joint_attention(family: Transformer, unet: Any, x: Tensor, options: Options, call: Call) -> Iterator[None]:
    """Within the context the joint attentions of the selected layers share in a model call on `x`."""
    if call.source is None and not is_compiled(unet, options):
        yield
        return
    if OVERRIDE in options:
        call.previous[OVERRIDE] = options[OVERRIDE]
    options[OVERRIDE] = shared_joint_attention
    call.notes[PLACING] = _placing(family, unet, x, options)
    with noting_layers(family, unet, x, call.layers):
        yield


def _placing(family: Transformer, unet: Any, x: Tensor, options: Mapping[str, Any]) -> Placing:
    positions = options.get(POSITIONS, ReferencePositions())
    offset = family.image(unet, x).width * family.step(unet, options)
    return Placing(positions, family.turn(unet, offset, x.device), family.pair_axes(unet) or "")


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
    compute = partial(
        previous or attention, *([attention] if previous else []), attn_precision=attn_precision, **further
    )
    own = partial(compute, skip_reshape=skip_reshape, skip_output_reshape=skip_output_reshape)
    joint = _joint(call, layer, q, k, skip_reshape)
    if joint is None:
        return own(q, k, v, heads, mask=mask)
    rows, outputs = joint.rows, []
    if rows.has_references:
        references = _flat(rows.references)
        outputs.append(own(*map(references, (q, k, v)), heads, mask=_of_rows(mask, references, rows)).unsqueeze(1))
    if not skip_reshape:
        q, k, v = (_heads_apart(x, q.shape[-1] // heads) for x in (q, k, v))
    given = joint.features(Projections(q, k, v))
    if rows.has_targets:
        apart = partial(compute, skip_reshape=True, skip_output_reshape=True)
        attend = HostAttention(
            lambda q, k, v, bias: apart(q, k, v, heads, mask=bias), takes_mask(attention, previous), joint.call.run
        )
        own_mask = _additive(_of_rows(mask, _flat(rows.targets), rows), q.dtype)
        out = joint.share(Projections(q, k, v), given, attend, own_mask)
        outputs.append(out if skip_output_reshape else out.transpose(-2, -3).flatten(-2))
    return rows.join(*outputs) if len(outputs) == 2 else outputs[0].flatten(0, 1)


@dataclass(frozen=True)
class _Joint:
    """A joint attention that shares; `image` are the tokens of its images, `rotary` their rotation."""

    call: Call
    source: Source
    slot: Hashable
    image: slice
    rotary: Rotary | None

    @property
    def rows(self) -> Rows:
        return self.source.rows

    def features(self, rotated: Projections) -> Features:
        """Of the references' images, keys as they are before rotation; statistics (chunks, 1, heads, 1, channels)."""
        return self.source.of(self.slot, lambda: self._features(rotated))

    def _features(self, rotated: Projections) -> Features:
        settings = self.call.settings
        query, key, value = (self.rows.references(x)[..., self.image, :] for x in rotated)
        key = self._back(key, self.rows.references)
        return Features(
            key if self.rows.has_targets else key.to(value.dtype),  # what is kept is kept in the model's precision
            value,
            statistics(self._back(query, self.rows.references)) if settings.adain_queries else None,
            statistics(key) if settings.adain_keys else None,
            statistics(value) if settings.adain_values else None,
        )

    def share(self, rotated: Projections, given: Features, attend: HostAttention, mask: Tensor | None) -> Tensor:
        """What the targets get: (chunks, targets, heads, tokens, channels)."""
        settings = self.call.settings
        statistics_of = (given.query_statistics, given.key_statistics, given.value_statistics)
        aligned = Projections(
            *(
                self._aligned(self.rows.targets(x), stats, has_positions, settings.strength)
                for x, stats, has_positions in zip(rotated, statistics_of, (True, True, False), strict=True)
            )
        )
        placed = given._replace(key=self._placed(given.key).to(rotated.key.dtype))
        return share(aligned, placed, settings, attend, mask)

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
        return x if self.rotary is None else _rotated(self._rotary_of(role).inverse(), x)

    def _forth(self, x: Tensor, role: Pick) -> Tensor:
        return x if self.rotary is None else _rotated(self._rotary_of(role), x)

    def _rotary_of(self, role: Pick) -> Rotary:
        assert self.rotary is not None
        return self.rotary.of_rows(_flat(role), self.rows.count)

    def _placed(self, key: Tensor) -> Tensor:
        """The references' keys, (chunks, 1, heads, tokens, channels), where the targets see them."""
        placing: Placing = self.call.notes[PLACING]
        if self.rotary is None or placing.turn is None:
            return key
        first = self.rows.reference or 0  # of the images of a chunk: all have the same positions
        image = self.rotary.of_rows(lambda matrices: self.rows.split(matrices)[:, first], self.rows.count)
        rotation = placing.positions.rotation(image, placing.turn, placing.axes)
        return key if rotation is None else _rotated(rotation, key)


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


def _rotated(rotary: Rotary, x: Tensor) -> Tensor:
    """x: (chunks, images, heads, tokens, channels)."""
    return rotary(x.flatten(0, 1)).view(x.shape)


def _flat(role: Pick) -> Pick:
    """Rows of a role, (rows, ...), from the call's."""
    return lambda x: role(x).flatten(0, 1)


def _of_rows(mask: Tensor | None, pick: Pick, rows: Rows) -> Tensor | None:
    """A mask of the call for some of its rows; one without rows, or with one for all, is as it is."""
    if mask is None or mask.ndim < 3 or mask.shape[0] != rows.count:
        return mask
    return pick(mask)


def _additive(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """A mask in any of the host's forms as what is added to the logits: (rows or 1, heads or 1, queries or 1, keys)."""
    if mask is None:
        return None
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min / 2)
    mask = mask.to(dtype)
    return mask if mask.ndim == 4 else mask[:, None] if mask.ndim == 3 else mask[None, None]


def _heads_apart(x: Tensor, channels: int) -> Tensor:
    """(rows, tokens, heads * channels), or (rows, tokens, heads, channels), as (rows, heads, tokens, channels)."""
    return x.reshape(*x.shape[:2], -1, channels).transpose(1, 2)
