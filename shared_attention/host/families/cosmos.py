"""Cosmos-Predict2 and Anima: self-attention of the image alone; text comes in by cross-attention."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from ...layers import LayerKey
from .transformer import Computed, Image, Layer, blocks_of_pairs, from_end, geometric, heads_third


class Cosmos(Computed):
    """Cosmos-Predict2 Text2Image. No author has published a choice of blocks.

    The blocks' self-attention is what is noted: their cross-attention has queries of the same number.
    """

    name = "Cosmos-Predict2"
    classes = ("MiniTrainDIT",)
    halves = True

    def accepts(self, unet: Any) -> bool:
        """Video2World takes a mask of frames beside the latent."""
        return bool(unet.in_channels == unet.out_channels)

    def patch_size(self, unet: Any) -> int:
        return int(unet.patch_spatial)

    def modules(self, unet: Any) -> Iterator[tuple[LayerKey, Any]]:
        for number, block in enumerate(unet.blocks):
            yield ("single", number), block.self_attn

    def layer(self, unet: Any, key: LayerKey, image: Image, arguments: Mapping[str, Any]) -> Layer:
        return Layer(key, from_end(0, image), heads_third(arguments["rope_emb"], self.halves))

    def pair_axes(self, unet: Any) -> str:
        positions = unet.pos_embedder
        spatial, temporal = len(positions.dim_spatial_range), len(positions.dim_temporal_range)
        return blocks_of_pairs("tyx", (2 * temporal, 2 * spatial, 2 * spatial))

    def frequencies(self, unet: Any) -> Tensor:
        positions = unet.pos_embedder
        return geometric(10000.0 * positions.w_ntk_factor, 2 * len(positions.dim_spatial_range))


class Anima(Cosmos):
    """Anima: Cosmos-Predict2 with a text encoder of its own."""

    name = "Anima"
    classes = ("Anima",)
