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

from collections.abc import Callable, Iterator, Mapping
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
from ..backend import OVERRIDE, HostAttention, takes_mask
from ..calls import Call, Options, current_call
from ..compiling import is_compiled, uncompiled
from .noting import current_layer, noting_layers

if TYPE_CHECKING:
    from .transformer import Layer, Transformer

Pick = Callable[[Tensor], Tensor]
"""The reference's rows of a tensor (rows, ...) or the targets': (chunks * images', ...)."""


@dataclass(frozen=True)
class _Placing:
    """Where the reference's keys stand in this call; `turn` None where the model's positions are absolute."""

    positions: ReferencePositions
    turn: Rotary | None
    axes: str


_PLACING = "placing"


@contextmanager
def share_joint_attention(family: Transformer, unet: Any, x: Tensor, options: Options, call: Call) -> Iterator[None]:
    """Within the context the joint attentions of the selected layers share in a model call on `x`."""
    if call.rows is None and not is_compiled(unet, options):
        yield
        return
    if OVERRIDE in options:
        call.previous[OVERRIDE] = options[OVERRIDE]
    options[OVERRIDE] = shared_joint_attention
    call.notes[_PLACING] = _placing(family, unet, x, options)
    with noting_layers(family, unet, x, call.layers):
        yield


def _placing(family: Transformer, unet: Any, x: Tensor, options: Mapping[str, Any]) -> _Placing:
    positions = options.get(POSITIONS, ReferencePositions())
    offset = family.image(unet, x).width * family.step(unet, options)
    return _Placing(positions, family.turn(unet, offset, x.device), family.pair_axes(unet) or "")


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
    compute = partial(previous, attention) if previous else attention
    own = partial(
        compute,
        attn_precision=attn_precision,
        skip_reshape=skip_reshape,
        skip_output_reshape=skip_output_reshape,
        **further,
    )
    rows = None if call is None else call.rows
    if call is None or rows is None or layer is None or not _fits(call, rows, layer, q, k, skip_reshape):
        return own(q, k, v, heads, mask=mask)
    call.run.shared_layers += 1
    references, targets = _picks(rows)
    references_out = own(*map(references, (q, k, v)), heads, mask=_of_rows(mask, references, rows)).unsqueeze(1)
    if not skip_reshape:
        q, k, v = (_heads_apart(x, q.shape[-1] // heads) for x in (q, k, v))
    apart = partial(compute, attn_precision=attn_precision, skip_reshape=True, skip_output_reshape=True, **further)
    attend = HostAttention(
        lambda q, k, v, bias: apart(q, k, v, heads, mask=bias), takes_mask(attention, previous), call.run
    )
    mask = _additive(_of_rows(mask, targets, rows), q.dtype)
    targets_out = _share(call, rows, layer, Projections(q, k, v), attend, mask)
    if not skip_output_reshape:
        targets_out = targets_out.transpose(-2, -3).flatten(-2)
    return rows.join(references_out, targets_out)


def _fits(call: Call, rows: Rows, layer: Layer, q: Tensor, k: Tensor, skip_reshape: bool) -> bool:
    """Whether rows and tokens are those that were noted: a patch may have tiled, merged or added some."""
    axis = 2 if skip_reshape else 1
    queries, keys = q.shape[axis], k.shape[axis]
    image = layer.image(queries)
    rotated = layer.rotary is None or image.stop <= layer.rotary.tokens
    inside = 0 <= image.start < image.stop <= queries
    if q.shape[0] == k.shape[0] == rows.count and queries == keys and inside and rotated:
        return True
    call.run.report(
        f"the attention of {layer.key[0]}.{layer.key[1]} has {queries} queries and {keys} keys in {q.shape[0]} rows, "
        "which are not the tokens of its images (another node rearranges them); sharing stands aside in such layers."
    )
    return False


def _share(
    call: Call, rows: Rows, layer: Layer, rotated: Projections, attend: HostAttention, mask: Tensor | None
) -> Tensor:
    """What the targets get: (chunks, targets, heads, tokens, channels)."""
    settings, image = call.settings, layer.image(rotated.query.shape[2])
    rotary = None if layer.rotary is None else layer.rotary.of_tokens(image)
    reference_key = rows.references(rotated.key)[..., image, :]
    reference_value = rows.references(rotated.value)[..., image, :]
    reference = Features(_placed(reference_key, rotary, rows, call.notes[_PLACING]), reference_value)
    wanted = (settings.adain_queries, settings.adain_keys, settings.adain_values)
    rotaries = (rotary, rotary, None)  # values have no positions
    aligned = Projections(
        *(
            _aligned(x, image, turned, rows, settings.strength) if is_wanted else rows.targets(x)
            for x, turned, is_wanted in zip(rotated, rotaries, wanted, strict=True)
        )
    )
    return share(aligned, reference, settings, attend, mask)


def _aligned(x: Tensor, image: slice, rotary: Rotary | None, rows: Rows, strength: float) -> Tensor:
    """The targets' tokens, those of the image with the statistics that the reference's have before rotation."""
    tokens = x[:, :, image] if rotary is None else rotary.inverse()(x[:, :, image])
    given: Statistics = statistics(rows.references(tokens))
    aligned = adain(rows.targets(tokens), given, strength)
    if rotary is not None:
        by_rows = rotary.of_rows(lambda matrices: rows.targets(matrices).flatten(0, 1), rows.count)
        aligned = by_rows(aligned.flatten(0, 1)).view(aligned.shape)
    own = rows.targets(x)
    return torch.cat([own[..., : image.start, :], aligned.to(x.dtype), own[..., image.stop :, :]], -2)


def _placed(key: Tensor, rotary: Rotary | None, rows: Rows, placing: _Placing) -> Tensor:
    """The reference's keys (chunks, 1, heads, tokens, channels) where the targets see them."""
    if rotary is None or placing.turn is None:
        return key
    of_references = rotary.of_rows(lambda matrices: rows.references(matrices).flatten(0, 1), rows.count)
    rotation = placing.positions.rotation(of_references, placing.turn, placing.axes)
    if rotation is None:
        return key
    return rotation(key.flatten(0, 1)).to(key.dtype).view(key.shape)


def _picks(rows: Rows) -> tuple[Pick, Pick]:
    return lambda x: rows.references(x).flatten(0, 1), lambda x: rows.targets(x).flatten(0, 1)


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
