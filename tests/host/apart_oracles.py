"""References apart from the batch, dense and in float64: what a whole model has to compute with several of them.

At every call the model runs over each reference alone, at the call's noise level and with the reference's own prompt,
and every layer notes what it has. Then the targets' call reads it, a row at a time, straight from the equations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import comfy.samplers
import torch
from comfy.sampler_helpers import convert_cond
from oracle_model import OracleModel
from oracles import attention
from style_aligned.shared_attention.fixed_noise import fixed_noise
from torch import Tensor

KINDS = ("positive", "negative")


@dataclass(frozen=True)
class Apart:
    """samples: of the host's LATENT, one picture. positive, negative: its CONDITIONING. stride: of the tokens kept."""

    samples: Tensor
    positive: list[list[Any]]
    negative: list[list[Any]]
    weight: float = 1.0
    stride: int = 1

    def call(self, model: Any, kind: int, t: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """What the host gives its model for this picture at noise level `t`: the latent, and the conditioning."""
        clean = model.process_latent_in(self.samples.float())
        x = model.model_sampling.noise_scaling(t[:1], fixed_noise(self.samples), clean)
        given = convert_cond(self.negative if kind else self.positive)
        [cond] = comfy.samplers.encode_model_conds(
            model.extra_conds, given, torch.zeros_like(x), x.device, KINDS[kind], latent_image=clean
        )
        return x, {
            name: value.process_cond(batch_size=1, area=None).cond for name, value in cond["model_conds"].items()
        }


def mean_of(values: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    return sum(weight * value for value, weight in zip(values, weights, strict=True)) / sum(weights)


def aligned(x: Tensor, references: Sequence[Tensor], weights: Sequence[float], strength: float, dim: int) -> Tensor:
    """(1 - a) x + a AdaIN(x) to the weighted mean of the references' means and deviations, over tokens along `dim`."""

    def std(y: Tensor) -> Tensor:
        return (y.var(dim, unbiased=True, keepdim=True) + 1e-5).sqrt()

    mean = mean_of([each.mean(dim, keepdim=True) for each in references], weights)
    deviation = mean_of([std(each) for each in references], weights)
    return (1 - strength) * x + strength * (deviation * (x - x.mean(dim, keepdim=True)) / std(x) + mean)


class ApartUNet(OracleModel):
    """The tiny UNet of `family`, all of whose rows are targets of `references`."""

    def __init__(self, family: str, references: Sequence[Apart], options: dict[str, Any] | None = None,
                 share_group_norm: bool = False) -> None:  # fmt: skip
        self.references = references
        self.noted: dict[tuple[int, int, int], tuple[Tensor, ...]] = {}
        self.recording: tuple[int, int] | None = None  # the reference and its kind
        self.kinds: list[int] = []
        self.layers = 0
        super().__init__(family, options, share_group_norm)

    def _note_layout(self, apply_model: Any, arguments: dict[str, Any]) -> Tensor:
        model = self.patcher.model
        for number, reference in enumerate(self.references):
            for kind in set(arguments["cond_or_uncond"]):
                x, c = reference.call(model, kind, arguments["timestep"])
                self.recording = number, kind
                apply_model(x, arguments["timestep"][:1], **c, transformer_options={})
        self.recording, self.kinds = None, arguments["cond_or_uncond"]
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    def _of_row(self, layer: int, row: int, rows: int) -> list[tuple[Tensor, ...]]:
        kind = self.kinds[row * len(self.kinds) // rows]
        return [self.noted[number, kind, layer] for number in range(len(self.references))]

    def _attention_of(self, layer: Any) -> Any:
        name, weights = self._next(), [each.weight for each in self.references]

        def forward(x: Tensor, *_: Any, **__: Any) -> Tensor:
            projected = [y.double() for y in (layer.to_q(x), layer.to_k(x), layer.to_v(x))]
            if self.recording:
                self.noted[(*self.recording, name)] = tuple(y[0] for y in projected)
                return layer.to_out(torch.stack([attention(*(y[0] for y in projected), layer.heads)]))
            out = []
            for row in range(len(x)):
                given = self._of_row(name, row, len(x))
                out.append(self._attend([y[row] for y in projected], given, weights, layer.heads))
            return layer.to_out(torch.stack(out))

        return forward

    def _attend(self, own: list[Tensor], given: list[tuple[Tensor, ...]], weights: list[float], heads: int) -> Tensor:
        options, strength = self.options, self.options.get("strength", 1.0)
        flags = [options.get(f"adain_{name}", name != "values") for name in ("queries", "keys", "values")]
        query, key, value = (
            aligned(x, [each[part] for each in given], weights, strength, 0) if flags[part] else x
            for part, x in enumerate(own)
        )
        bias = [torch.zeros(len(key))]
        for each, weight in zip(given, weights, strict=True):
            shift = options.get("shift", 0.0) + math.log(strength) + math.log(weight * len(key) / len(each[1]))
            bias.append(torch.full((len(each[1]),), shift))
        keys = torch.cat([key, *(options.get("scale", 1.0) * each[1] for each in given)])
        return attention(query, keys, torch.cat([value, *(each[2] for each in given)]), heads, torch.cat(bias).double())

    def _group_norm_of(self, norm: Any) -> Any:
        name, strength = self._next(), self.options.get("strength", 1.0)
        weights = [1.0, *(strength * each.weight for each in self.references)]

        def forward(x: Tensor) -> Tensor:
            if self.recording:
                self.noted[(*self.recording, name)] = (x[0],)
            out = []
            for row in range(len(x)):
                given = [] if self.recording else [each[0] for each in self._of_row(name, row, len(x))]
                out.append(self._normed(x[row], given, weights, norm))
            return torch.stack(out)

        return forward

    @staticmethod
    def _normed(own: Tensor, given: list[Tensor], weights: list[float], norm: Any) -> Tensor:
        """Moments of the sets as if all were of one size."""
        grouped = [x.double().reshape(norm.num_groups, -1) for x in (own, *given)]
        used = weights[: len(grouped)]
        mean = mean_of([x.mean(1, keepdim=True) for x in grouped], used)
        variance = mean_of([((x - mean) ** 2).mean(1, keepdim=True) for x in grouped], used)
        normed = ((grouped[0] - mean) / (variance + norm.eps).sqrt()).view_as(own)
        return normed * norm.weight[:, None, None] + norm.bias[:, None, None]

    def _next(self) -> int:
        self.layers += 1
        return self.layers
