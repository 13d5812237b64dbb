"""Shared attention with masks, dense and in float64, straight from the equations: on UNets and in joint attentions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from oracle_model import OracleModel
from oracles import attention
from torch import Tensor, nn


@dataclass(frozen=True)
class Given:
    """style: (height, width) over the reference. target: one for each target, (targets, height, width)."""

    style: Tensor | None = None
    target: Tensor | None = None

    def of_reference(self, height: int, width: int) -> Tensor:
        """What each token counts: (tokens,)."""
        if self.style is None:
            return torch.ones(height * width, dtype=torch.float64)
        return boxes(self.style, height, width)

    def of_target(self, number: int, height: int, width: int) -> Tensor:
        if self.target is None:
            return torch.ones(height * width, dtype=torch.float64)
        return boxes(self.target[number], height, width)


def boxes(mask: Tensor, height: int, width: int) -> Tensor:
    """The mean of the mask over each token's box: (height * width,)."""
    tall, wide = mask.shape
    rows = [(i * tall // height, -(-(i + 1) * tall // height)) for i in range(height)]
    columns = [(i * wide // width, -(-(i + 1) * wide // width)) for i in range(width)]
    parts = [mask[top:bottom, left:right] for top, bottom in rows for left, right in columns]
    return torch.stack([part.double().mean() for part in parts])


def weighted_adain(x: Tensor, y: Tensor, counts: Tensor, strength: float) -> Tensor:
    """(1 - a) x + a AdaIN(x, y), statistics of `y` weighted. x, y: (..., tokens, channels); counts: of y's tokens."""
    part = (counts / counts.sum())[:, None]
    mean = (part * y).sum(-2, keepdim=True)
    variance = (part * (y - mean) ** 2).sum(-2, keepdim=True) / max(1 - float((part**2).sum()), 1e-5)
    own = (x.var(-2, unbiased=True, keepdim=True) + 1e-5).sqrt()
    normal = (x - x.mean(-2, keepdim=True)) / own
    return (1 - strength) * x + strength * ((variance + 1e-5).sqrt() * normal + mean)


class MaskedUNet(OracleModel):
    """The tiny UNet of `family` in float64 with masks; row 0 of each chunk is the reference."""

    def __init__(self, family: str, given: Given, options: dict[str, Any] | None = None,
                 share_group_norm: bool = False) -> None:  # fmt: skip
        self.given, self.size = given, (0, 0)
        super().__init__(family, options, share_group_norm)

    def _note_layout(self, apply_model: Any, arguments: dict[str, Any]) -> Tensor:
        self.size = tuple(arguments["input"].shape[-2:])
        return super()._note_layout(apply_model, arguments)

    def _grid(self, tokens: int) -> tuple[int, int]:
        sizes = [tuple(-(-side // 2**times) for side in self.size) for times in range(4)]
        return next((height, width) for height, width in sizes if height * width == tokens)

    def _attention_of(self, layer: Any) -> Any:
        def forward(x: Tensor, *_: Any, **__: Any) -> Tensor:
            query, key, value = (y.double() for y in (layer.to_q(x), layer.to_k(x), layer.to_v(x)))
            grid, out = self._grid(x.shape[1]), []
            counts = self.given.of_reference(*grid)
            for row, ref in self.layout.pairs():
                alone = attention(query[row], key[row], value[row], layer.heads)
                if row == ref:
                    out.append(alone)
                    continue
                own = [query[row], key[row], value[row]]
                shared = self._attend(own, [query[ref], key[ref], value[ref]], counts, layer.heads)
                mask = self.given.of_target(row - ref - 1, *grid)[:, None]
                out.append(mask * shared + (1 - mask) * alone)
            return layer.to_out(torch.stack(out))

        return forward

    def _attend(self, own: list[Tensor], reference: list[Tensor], counts: Tensor, heads: int) -> Tensor:
        query, keys, values, bias = self._extended(own, reference, counts)
        return attention(query, keys, values, heads, bias)

    def _extended(self, own: list[Tensor], reference: list[Tensor], counts: Tensor) -> tuple[Tensor, ...]:
        """What a target attends with and to: query, keys, values and what is added to the logits."""
        options, strength = self.options, self.options.get("strength", 1.0)
        flags = [options.get(f"adain_{name}", name != "values") for name in ("queries", "keys", "values")]
        query, key, value = (
            weighted_adain(x, y, counts, strength) if flag else x
            for x, y, flag in zip(own, reference, flags, strict=True)
        )
        logits = options.get("shift", 0.0) + math.log(strength) + counts.log()
        keys = torch.cat([key, options.get("scale", 1.0) * reference[1]])
        bias = torch.cat([torch.zeros(len(key)), logits]).double()
        return query, keys, torch.cat([value, reference[2]]), bias

    def _group_norm_of(self, norm: nn.GroupNorm) -> Any:
        strength = self.options.get("strength", 1.0)

        def normed(x: Tensor, others: list[tuple[Tensor, Tensor]]) -> Tensor:
            """others: values that count besides, (channels, tokens), and how much each place does, (tokens,)."""
            own = x.double().reshape(norm.num_groups, -1)
            values, counts = [own], [torch.ones_like(own)]
            for each, weights in others:
                values.append(each.double().reshape(norm.num_groups, -1))
                counts.append((weights.expand(each.shape)).reshape(norm.num_groups, -1))
            every, weight = torch.cat(values, 1), torch.cat(counts, 1)
            mean = (weight * every).sum(1, keepdim=True) / weight.sum(1, keepdim=True)
            variance = (weight * (every - mean) ** 2).sum(1, keepdim=True) / weight.sum(1, keepdim=True)
            out = ((own - mean) / (variance + norm.eps).sqrt()).view_as(x)
            return out * norm.weight[:, None, None] + norm.bias[:, None, None]

        def forward(x: Tensor) -> Tensor:
            grid, out = tuple(x.shape[-2:]), []
            counts = strength * self.given.of_reference(*grid)
            for row, ref in self.layout.pairs():
                alone = normed(x[row], [])
                if row == ref:
                    out.append(alone)
                    continue
                mask = self.given.of_target(row - ref - 1, *grid).view(grid)
                out.append(mask * normed(x[row], [(x[ref].flatten(1), counts)]) + (1 - mask) * alone)
            return torch.stack(out)

        return forward
