"""A transformer in float64 with dense shared attention in its joint layers: what a whole model has to compute.

It meets the model before rotation: each layer is handed positions that turn nothing, and the oracle turns queries and
keys itself, by positions of its own. Everything is written straight from the equations, a row of the call at a time.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from double import call_in_double
from oracles import Layout
from positions import Rope, Tokens
from torch import Tensor, nn
from variant import LayerKey, Variant

ROTATIONS = ("pe", "freqs", "freqs_cis", "rope", "rope_emb", "rotary_emb", "image_rotary_emb")
"""What layers call the argument that turns their queries and keys."""


@dataclass(frozen=True)
class Sharing:
    """The method's settings. positions: where the reference's copy stands, "beside" the image (ShiftPE), at the "same"
    place, or at "none", not turned at all. high, low: factors of its highest and lowest rotary frequencies."""

    scale: float = 1.0
    shift: float = 0.0
    strength: float = 1.0
    adain_queries: bool = True
    adain_keys: bool = True
    adain_values: bool = False
    positions: str = "beside"
    high: float = 1.0
    low: float = 1.0


def adain(x: Tensor, reference: Tensor, strength: float) -> Tensor:
    """(1 - a) x + a AdaIN(x), statistics over tokens for each head and channel. x: (heads, tokens, channels)."""

    def std(y: Tensor) -> Tensor:
        return (y.var(1, unbiased=True, keepdim=True) + 1e-5).sqrt()

    normal = (x - x.mean(1, keepdim=True)) / std(x)
    return (1 - strength) * x + strength * (std(reference) * normal + reference.mean(1, keepdim=True))


def softmax_attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scale: float | None) -> Tensor:
    """query, key, value: (heads, tokens, channels); bias: added to the logits, (heads or 1, queries or 1, keys)."""
    logits = query @ key.transpose(1, 2) * (1 / math.sqrt(query.shape[2]) if scale is None else scale)
    return (logits + bias).softmax(-1) @ value


@dataclass(frozen=True)
class JointAttention:
    """One layer's attention. rope is None for absolute positions; scale: of the logits where it is not 1/sqrt(d)."""

    tokens: Tokens
    rope: Rope | None
    scale: float | None = None

    def turned(self, x: Tensor) -> Tensor:
        return x if self.rope is None else self.rope.rotate(x, self.tokens.positions)

    def alone(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        """A row that sees itself only."""
        return softmax_attention(self.turned(query), self.turned(key), value, bias, self.scale)

    def of_target(self, target: list[Tensor], reference: list[Tensor], bias: Tensor, sharing: Sharing) -> Tensor:
        """A row that also sees the reference's image. target, reference: query, key, value before rotation."""
        image, flags = self.tokens.image, (sharing.adain_queries, sharing.adain_keys, sharing.adain_values)
        query, key, value = (x.clone() for x in target)
        for x, y, flag in zip((query, key, value), reference, flags, strict=True):
            if flag:
                x[:, image] = adain(x[:, image], y[:, image], sharing.strength)
        copied = sharing.scale * self.reference_key(reference[1], sharing)
        weight = sharing.shift + math.log(sharing.strength)
        bias = torch.cat([bias, bias.new_full((*bias.shape[:2], copied.shape[1]), weight)], 2)
        keys, values = torch.cat([self.turned(key), copied], 1), torch.cat([value, reference[2][:, image]], 1)
        return softmax_attention(self.turned(query), keys, values, bias, self.scale)

    def reference_key(self, key: Tensor, sharing: Sharing) -> Tensor:
        image = self.tokens.image
        if self.rope is None:
            return key[:, image]
        scaled = self.rope.scale(key[:, image], sharing.high, sharing.low)
        if sharing.positions == "none":
            return scaled
        positions = self.tokens.positions[image].clone()
        if sharing.positions == "beside":
            positions[:, self.rope.spatial[-1]] += self.tokens.width * self.tokens.step
        return self.rope.rotate(scaled, positions)


class JointOracle:
    """The tiny model of `variant` in float64 with dense joint attention; `.patcher` samples with it.

    sharing: None computes the plain model. layers: which share; None for all.
    """

    def __init__(
        self, variant: Variant, sharing: Sharing | None = None, layers: Callable[[LayerKey], bool] | None = None
    ) -> None:
        self.variant, self.sharing, self.layers = variant, sharing, layers
        self.patcher = variant.model(torch.float64)
        self.unet = self.patcher.model.diffusion_model
        self.layout = Layout(1, 1)
        self.latent = torch.Size()
        self.entered: LayerKey | None = None
        self.attended = 0
        for key, module in variant.layers(self.unet):
            module.register_forward_pre_hook(self._enter(key), with_kwargs=True)
            module.register_forward_hook(self._leave)
        self.patcher.set_model_unet_function_wrapper(self._call)

    def _call(self, apply_model: Any, arguments: dict[str, Any]) -> Tensor:
        chunks = len(arguments["cond_or_uncond"])
        self.latent = arguments["input"].shape
        self.layout = Layout(chunks, self.latent[0] // chunks)
        options = {**arguments["c"]["transformer_options"], "optimized_attention_override": self._attention}
        return call_in_double(apply_model, {**arguments, "c": {**arguments["c"], "transformer_options": options}})

    def _enter(self, key: LayerKey) -> Callable[..., Any]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> Any:
            bound = inspect.signature(module.forward).bind(*args, **kwargs)
            for name in ROTATIONS:
                if bound.arguments.get(name) is not None:
                    bound.arguments[name] = turning_nothing(bound.arguments[name])
            self.entered, self.attended = key, 0
            return bound.args, bound.kwargs

        return hook

    def _leave(self, *_: Any) -> None:
        assert self.attended, f"{self.entered} attended without the oracle"
        self.entered = None

    def _attention(
        self, func: Any, query: Tensor, key: Tensor, value: Tensor, heads: int, mask: Tensor | None = None,
        attn_precision: Any = None, skip_reshape: bool = False, skip_output_reshape: bool = False, **kwargs: Any,
    ) -> Tensor:  # fmt: skip
        if self.entered is None:
            given = {"skip_reshape": skip_reshape, "skip_output_reshape": skip_output_reshape, **kwargs}
            return func(query, key, value, heads, mask=mask, attn_precision=attn_precision, **given)
        self.attended += 1
        if not skip_reshape:
            query, key, value = (x.reshape(*x.shape[:2], heads, -1).transpose(1, 2) for x in (query, key, value))
        key, value = (x.repeat_interleave(heads // x.shape[1], 1) for x in (key, value))
        out = self._rows(query.double(), key.double(), value.double(), mask, kwargs.get("scale")).to(query.dtype)
        return out if skip_output_reshape else out.transpose(1, 2).flatten(2)

    def _rows(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
        """Each row of the call. query, key, value: (rows, heads, tokens, channels)."""
        tokens = self.variant.tokens(self.unet, self.latent, query.shape[2])
        joint = JointAttention(tokens, self.variant.rope(self.unet), scale)
        shares = self.sharing is not None and (self.layers is None or self.layers(self.entered))
        out = []
        for row, ref in self.layout.pairs():
            bias = bias_of_row(mask, row, len(query), query.shape[2])
            own = [query[row], key[row], value[row]]
            if row == ref or not shares:
                out.append(joint.alone(*own, bias))
            else:
                out.append(joint.of_target(own, [query[ref], key[ref], value[ref]], bias, self.sharing))
        return torch.stack(out)


def turning_nothing(rotation: Any) -> Any:
    """In place of a host's rotation: matrices (..., 2, 2), or their (cosine, sine, -sine)."""
    if isinstance(rotation, tuple):
        return (torch.ones_like(rotation[0]), *(torch.zeros_like(part) for part in rotation[1:]))
    return torch.eye(2, dtype=rotation.dtype).expand(rotation.shape).contiguous()


def bias_of_row(mask: Tensor | None, row: int, rows: int, keys: int) -> Tensor:
    """(heads or 1, queries or 1, keys) of a mask: boolean or added, for all rows or each, with heads or without."""
    if mask is None:
        return torch.zeros(1, 1, keys, dtype=torch.float64)
    if mask.dtype == torch.bool:
        mask = torch.zeros(mask.shape, dtype=torch.float64).masked_fill(~mask, -math.inf)
    mask = mask.double()
    if mask.ndim == 2:
        return mask[None]
    own = mask[row if mask.shape[0] == rows else 0]
    return own if own.ndim == 3 else own[None]
