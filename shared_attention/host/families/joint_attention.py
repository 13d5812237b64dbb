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

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ...attending import Projections
from ...masks import blended
from ...positions import KEY as POSITIONS
from ...positions import ReferencePositions
from ..backend import OVERRIDE, HostAttention, takes_mask
from ..calls import Call, Options, current_call
from ..compiling import is_compiled, uncompiled
from .joint_layer import PLACING, Joint, Placing, statistics_of
from .layouts import additive, flat, heads_apart, of_rows
from .noting import current_layer, current_preference, noting_layers, uncompiled_module

if TYPE_CHECKING:
    from .transformer import Layer, Transformer


_PREPARED = "prepared"
"""The note of a call that has the layer which has been aligned before rotation, and its Joint."""
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
    to = statistics_of(given)
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
    apart = partial(compute, skip_reshape=True, skip_output_reshape=True)
    attend = HostAttention(
        lambda q, k, v, bias: apart(q, k, v, heads, mask=bias), takes_mask(attention, previous), joint.call.run
    )
    if rows.has_references:
        mask_of_references = additive(of_rows(mask, references, rows), q.dtype)
        joint.find_subject(Projections(*map(references, (q, k, v))), attend, mask_of_references)
    if rows.has_targets:
        own_mask = additive(of_rows(mask, flat(rows.targets), rows), q.dtype)
        aligned = joint.aligned(Projections(q, k, v), statistics_of(given))
        out = joint.share(aligned, given, attend, own_mask)
        if joint.call.target_mask is not None:
            query, key, value = map(flat(rows.targets), (q, k, v))
            alone = attend(query, key, value, own_mask)
            out = blended(alone.view(out.shape), out, joint.target_mask(out))
        outputs.append(out if skip_output_reshape else out.transpose(-2, -3).flatten(-2))
    return rows.join(*outputs) if len(outputs) == 2 else outputs[0].flatten(0, 1)


def _prepared(call: Call | None, layer: Layer | None) -> Joint | None:
    """The layer, where its targets have been aligned before they were rotated."""
    of_layer, joint = (call.notes.pop(_PREPARED, None) if call else None) or (None, None)
    return joint if layer is not None and of_layer is layer else None


def _joint(call: Call | None, layer: Layer | None, q: Tensor, k: Tensor, skip_reshape: bool) -> Joint | None:
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
    return Joint(call, call.source, (layer.key, ordinal), image, rotary)
