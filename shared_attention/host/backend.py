"""The host's softmax attention, whichever backend it has chosen or another node has put in its place.

What a shift (or a strength) adds to the logits of the reference's tokens takes one of two exact forms:

    a mask      with PyTorch's attention and the host's own (sub-quadratic, split, basic): it broadcasts, and the kernel
                stays the fused one
    two parts   with every other: SageAttention drops a mask or leaves its kernel for it, FlashAttention has none and
                warns in every layer, xformers holds it as large as the logits, and of another node's attention nobody
                knows. There the attentions to own and to reference tokens are merged by their mass, which takes about
                twice the attention's time (see beside.share_beside).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

from comfy.ldm.modules import attention as host_attention
from torch import Tensor

from .calls import Run

TAKE_A_MASK = frozenset({"attention_pytorch", "attention_sub_quad", "attention_split", "attention_basic"})
OVERRIDE = "optimized_attention_override"


class HostAttention:
    """The host's attention of one layer: `compute` (query, key, value, mask) on (rows, ..., tokens, channels)."""

    def __init__(self, compute: Callable[..., Tensor], takes_bias: bool, run: Run) -> None:
        self._compute = compute
        self._takes_bias = takes_bias
        self._run = run

    @property
    def takes_bias(self) -> bool:
        if not self._takes_bias:
            self._run.report(
                "this attention backend takes no mask, so shift and strength are computed without one: exact, and in "
                "the layers that share attention takes about twice the time.",
                logging.INFO,
            )
        return self._takes_bias

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
        return self._compute(query, key, value, bias)


def takes_mask(attention: Callable[..., Any], override: object) -> bool:
    """Whether a mask acts in the host's `attention` at no great cost; nothing is known of an `override` of it."""
    return override is None and getattr(attention, "__name__", "") in TAKE_A_MASK


def may_prefer(module: Any) -> bool:
    """Whether a checkpoint may ask something of the attention of `module`: on hosts newer than 0.33."""
    return "comfy_attention" in module._modules


def preference(module: Any) -> Any:
    """What a checkpoint asks of the attention of `module`, such as that of 8-bit integers; None where it asks nothing.

    The host keeps it beside the attention's weights, with the `function` that computes it on this machine.
    """
    return module.comfy_attention if may_prefer(module) and module.comfy_attention.function is not None else None


def layer_attention(options: Mapping[str, Any], run: Run, asked: Any = None) -> HostAttention:
    """That of a UNet's layer, with the heads side by side in the channels.

    options: those of the host's patches. asked: the layer's `preference`.
    """
    attention = host_attention.optimized_attention if asked is None else asked.function
    takes_bias = takes_mask(attention, options.get(OVERRIDE))
    return HostAttention(partial(plain_attention, options, asked=asked), takes_bias, run)


def plain_attention(
    options: Mapping[str, Any],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    asked: Any = None,
) -> Tensor:
    """The attention of a UNet's layer as the host computes it, (rows, tokens, channels) each."""
    # Looked up at each call: it may be another backend's, or overridden by another node.
    attention = host_attention.optimized_attention
    further = {"attn_precision": options["attn_precision"], "transformer_options": options}
    if asked is not None:
        further["preferred_attention"] = asked
    return cast(Tensor, attention(query, key, value, options["n_heads"], mask=mask, **further))
