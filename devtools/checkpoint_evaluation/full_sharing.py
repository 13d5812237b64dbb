"""Full attention sharing in a transformer: each image attends to the image tokens of all of its set, without AdaIN.

    out_i = softmax(Q_i [K_i ; K_j of all j != i]^T / sqrt(d)) [V_i ; V_j]

K_i and V_i have the image's own text too; of the others' only the image's tokens are there. All have the positions that
they have alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

KEY = "style_aligned.full_sharing"


def full_sharing(model: Any) -> Any:
    """The host's `model`, of a family that the pack knows, with it; all of a set has to be in one call."""
    from comfy.patcher_extension import WrappersMP

    clone = model.clone()
    clone.add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, _around_model_call)
    return clone


def _around_model_call(
    executor: Any,
    x: Tensor,
    t: Tensor,
    c_concat: Tensor | None = None,
    c_crossattn: Tensor | None = None,
    control: Any = None,
    transformer_options: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> Tensor:
    from style_aligned.shared_attention.host.backend import OVERRIDE
    from style_aligned.shared_attention.host.families import find
    from style_aligned.shared_attention.host.families.noting import noting_layers
    from style_aligned.shared_attention.layers import LayerSelection

    options, unet = dict(transformer_options or {}), executor.class_obj.diffusion_model
    options[OVERRIDE] = partial(attend, len(x) // len(options["cond_or_uncond"]))
    family: Any = find(unet)
    with noting_layers(family, unet, x, LayerSelection.parse("all")):
        out: Tensor = executor(x, t, c_concat, c_crossattn, control, options, **kwargs)
    return out


def attend(
    images: int,
    attention: Callable[..., Tensor],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    heads: int,
    mask: Tensor | None = None,
    skip_reshape: bool = False,
    **further: Any,
) -> Tensor:
    """An override of the host's `attention`, whose rows are `images` of each conditioning."""
    from style_aligned.shared_attention.host.families.layouts import additive
    from style_aligned.shared_attention.host.families.noting import current_layer

    layer, axis = current_layer.get(), 2 if skip_reshape else 1
    tokens = k.shape[axis]
    if layer is not None and q.shape[axis] == tokens:  # not where a layer attends to text across
        image = layer.image(tokens)
        k, v = (with_others(x, image, axis, images) for x in (k, v))
        if mask is not None:
            mask = pad(additive(mask, q.dtype), (0, k.shape[axis] - tokens))
    return attention(q, k, v, heads, mask=mask, skip_reshape=skip_reshape, **further)


def with_others(x: Tensor, image: slice, axis: int, images: int) -> Tensor:
    """Keys or values (conditionings * images, ...), tokens along `axis`, with those of the other images behind them."""
    sets = x.narrow(axis, image.start, image.stop - image.start).unflatten(0, (-1, images))
    others = [torch.cat([sets[:, each] for each in range(images) if each != own], axis) for own in range(images)]
    return torch.cat([x, torch.stack(others, 1).flatten(0, 1)], axis)
