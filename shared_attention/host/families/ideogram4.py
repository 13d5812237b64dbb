"""Ideogram 4: [text ; image], and without text the image alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ...layers import LayerKey
from ...rotary import Rotary
from .transformer import Computed, Image, Layer, from_end, geometric, heads_third, numbered


class Ideogram4(Computed):
    """A token a latent pixel. No author has published a choice of blocks.

    Its axes take turns among the pairs (interleaved MRoPE), so each has a part of every range of frequencies.
    """

    name = "Ideogram 4"
    classes = ("Ideogram4Transformer2DModel",)
    halves = True

    def patch_size(self, unet: Any) -> int:
        """1: what the model calls so is the size in pixels of what its latent has already put together."""
        return 1

    def modules(self, unet: Any) -> Iterator[tuple[LayerKey, Any]]:
        return numbered("single", unet.layers)

    def layer(self, unet: Any, key: LayerKey, image: Image, arguments: Mapping[str, Any]) -> Layer:
        rotations = arguments["freqs_cis"]
        if isinstance(rotations, tuple):
            return Layer(key, from_end(0, image), _of_parts(*rotations))
        return Layer(key, from_end(0, image), heads_third(rotations, self.halves))

    def pair_axes(self, unet: Any) -> str:
        axes = ["t"] * (unet.head_dim // 2)
        for number, axis in ((1, "y"), (2, "x")):
            count = unet.mrope_section[number]
            axes[number : 3 * count : 3] = axis * count
        return "".join(axes)

    def frequencies(self, unet: Any) -> Tensor:
        return geometric(unet.rope_theta, unet.head_dim)[[axis == "x" for axis in self.pair_axes(unet)]]


def _of_parts(cos: Tensor, sin: Tensor, negative_sin: Tensor) -> Rotary:
    """As hosts before 0.30 have them: cos (1, tokens, 2 * pairs), sin and -sin (1, tokens, pairs)."""
    pairs = sin.shape[-1]
    matrices = torch.stack([cos[..., :pairs], negative_sin, sin, cos[..., pairs:]], -1)
    return Rotary(matrices.view(*sin.shape, 2, 2).unsqueeze(1), halves=True)
