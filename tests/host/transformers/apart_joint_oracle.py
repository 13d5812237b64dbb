"""References apart from the batch in a transformer, dense and in float64: of any size, several with weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from apart_oracles import Apart, aligned
from double import call_in_double
from joint_oracle import JointAttention, JointOracle, Sharing, bias_of_row, softmax_attention
from oracles import Layout
from positions import Tokens
from torch import Tensor
from variant import Variant

CENTRED = ("qwen_image", "mage_flow", "lens")
"""Variants whose positions count from the middle of the image."""


@dataclass(frozen=True)
class Noted:
    """What a layer has of a reference's image before rotation, (heads, tokens, channels) each, and where it is."""

    query: Tensor
    key: Tensor
    value: Tensor
    tokens: Tokens


class ApartJointOracle(JointOracle):
    """The tiny model of `variant`, all of whose rows are targets of `references`."""

    def __init__(self, variant: Variant, references: Sequence[Apart], sharing: Sharing) -> None:
        self.references = references
        self.noted: dict[Any, Noted] = {}
        self.recording: tuple[int, int] | None = None
        self.kinds: list[int] = []
        self.attentions = 0  # of the call, so far
        super().__init__(variant, sharing)

    def _call(self, apply_model: Any, arguments: dict[str, Any]) -> Tensor:
        model, options = self.patcher.model, arguments["c"]["transformer_options"]
        for number, reference in enumerate(self.references):
            for kind in set(arguments["cond_or_uncond"]):
                x, c = reference.call(model, kind, arguments["timestep"])
                self.recording, self.latent, self.layout = (number, kind), x.shape, Layout(1, 1)
                own = {**options, "optimized_attention_override": self._attention}
                given = {"input": x, "timestep": arguments["timestep"][:1], "c": {**c, "transformer_options": own}}
                self.attentions = 0
                call_in_double(apply_model, given)
        self.recording, self.kinds, self.attentions = None, arguments["cond_or_uncond"], 0
        return super()._call(apply_model, arguments)

    def _rows(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
        tokens = self.variant.tokens(self.unet, self.latent, query.shape[2])
        joint = JointAttention(tokens, self.variant.rope(self.unet), scale)
        layer = self.attentions = self.attentions + 1
        if self.recording:
            noted = (x[0, :, tokens.image] for x in (query, key, value))
            self.noted[(*self.recording, layer)] = Noted(*noted, tokens)
        out = []
        for row in range(len(query)):
            bias, own = bias_of_row(mask, row, len(query), query.shape[2]), [query[row], key[row], value[row]]
            if self.recording:
                out.append(joint.alone(*own, bias))
                continue
            kind = self.kinds[row * len(self.kinds) // len(query)]
            given = [self.noted[number, kind, layer] for number in range(len(self.references))]
            out.append(self._of_target(joint, own, given, bias))
        return torch.stack(out)

    def _of_target(self, joint: JointAttention, own: list[Tensor], given: list[Noted], bias: Tensor) -> Tensor:
        sharing, image = self.sharing, joint.tokens.image
        assert sharing is not None
        weights = [each.weight for each in self.references]
        flags = (sharing.adain_queries, sharing.adain_keys, sharing.adain_values)
        query, key, value = (x.clone() for x in own)
        for x, part, flag in zip((query, key, value), ("query", "key", "value"), flags, strict=True):
            if flag:
                to = [getattr(each, part) for each in given]
                x[:, image] = aligned(x[:, image], to, weights, sharing.strength, 1)
        keys, values, biases = [joint.turned(key)], [value], [bias]
        for each, reference, weight in zip(given, self.references, weights, strict=True):
            stays = kept_tokens(each, reference.stride)
            every = sharing.scale * placed(joint, each, sharing, self.variant.name.startswith(CENTRED))
            keys.append(every[:, stays])
            values.append(each.value[:, stays])
            ratio = (image.stop - image.start) / len(stays)
            logit = sharing.shift + math.log(sharing.strength) + math.log(weight * ratio)
            biases.append(bias.new_full((*bias.shape[:2], len(stays)), logit))
        return softmax_attention(joint.turned(query), torch.cat(keys, 1), torch.cat(values, 1), torch.cat(biases, 2),
                                 joint.scale)  # fmt: skip


def kept_tokens(noted: Noted, stride: int) -> list[int]:
    """Every `stride`th token of each row and column, from the middle of the first field on."""
    width = noted.tokens.width
    height = noted.key.shape[1] // width
    first_row, first_column = (min(stride // 2, side - 1) for side in (height, width))
    return [
        row * width + column
        for row in range(first_row, height, stride)
        for column in range(first_column, width, stride)
    ]


def placed(joint: JointAttention, reference: Noted, sharing: Sharing, is_centred: bool) -> Tensor:
    """The reference's keys where the target sees them: its left edge on the target's right one, or lying on it.

    Their tops are level, or their middles where positions count from there.
    """
    if joint.rope is None:
        return reference.key
    scaled = joint.rope.scale(reference.key, sharing.high, sharing.low)
    if sharing.positions == "none":
        return scaled
    own, other = joint.tokens, reference.tokens
    positions = other.positions[other.image].clone()
    target = own.positions[own.image]
    for axis in range(positions.shape[1]):
        if not is_centred or axis not in joint.rope.spatial:  # the first token is where the target's is
            positions[:, axis] += target[0, axis] - positions[0, axis]
    if sharing.positions == "beside":
        x = joint.rope.spatial[-1]
        positions[:, x] += target[:, x].min() + own.width * own.step - positions[:, x].min()
    return joint.rope.rotate(scaled, positions)
