"""Joint attention with masks, dense and in float64."""

from __future__ import annotations

import math

import torch
from joint_oracle import JointAttention, JointOracle, Sharing, bias_of_row, softmax_attention
from masked_oracles import Given, weighted_adain
from torch import Tensor
from variant import Variant


class MaskedJoint(JointOracle):
    """The tiny model of `variant`; row 0 of each chunk is the reference. given: one target mask for each target."""

    def __init__(self, variant: Variant, given: Given, sharing: Sharing) -> None:
        super().__init__(variant, sharing)
        self.given = given

    def _rows(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
        tokens = self.variant.tokens(self.unet, self.latent, query.shape[2])
        joint = JointAttention(tokens, self.variant.rope(self.unet), scale)
        grid = self._grid(tokens.image)
        out = []
        for row, ref in self.layout.pairs():
            bias, own = bias_of_row(mask, row, len(query), query.shape[2]), [query[row], key[row], value[row]]
            alone = joint.alone(*own, bias)
            if row == ref:
                out.append(alone)
                continue
            shared = self._of_target(joint, own, [query[ref], key[ref], value[ref]], bias, grid)
            of_image = self.given.of_target(row - ref - 1, *grid)
            blend = of_image.mean().expand(query.shape[2]).clone()
            blend[tokens.image] = of_image
            out.append(blend[:, None] * shared + (1 - blend[:, None]) * alone)
        return torch.stack(out)

    def _grid(self, image: slice) -> tuple[int, int]:
        height, width = self.latent[-2:]
        patch = round(math.sqrt(height * width / (image.stop - image.start)))
        return -(-height // patch), -(-width // patch)

    def _of_target(
        self, joint: JointAttention, own: list[Tensor], reference: list[Tensor], bias: Tensor, grid: tuple[int, int]
    ) -> Tensor:
        sharing, image = self.sharing, joint.tokens.image
        counts = self.given.of_reference(*grid)
        flags = (sharing.adain_queries, sharing.adain_keys, sharing.adain_values)
        query, key, value = (x.clone() for x in own)
        for x, y, flag in zip((query, key, value), reference, flags, strict=True):
            if flag:
                x[:, image] = weighted_adain(x[:, image], y[:, image], counts, sharing.strength)
        copied = sharing.scale * joint.reference_key(reference[1], sharing)
        logits = (sharing.shift + math.log(sharing.strength) + counts.log()).expand(*bias.shape[:2], -1)
        keys, values = torch.cat([joint.turned(key), copied], 1), torch.cat([value, reference[2][:, image]], 1)
        return self._attended(joint, joint.turned(query), keys, values, torch.cat([bias, logits], 2))

    def _attended(self, joint: JointAttention, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        return softmax_attention(query, key, value, bias, joint.scale)
