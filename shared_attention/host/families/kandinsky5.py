"""Kandinsky 5 Image: self-attention of the image alone; text comes in by cross-attention."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ...layers import LayerKey
from .transformer import Embedded, Image, Layer, from_end, heads_third, scale_of_positions


class Kandinsky5(Embedded):
    """Neighbouring tokens are half a position apart. No author has published a choice of blocks.

    The class is also that of the video models, whose tokens take more channels than the latent's.
    """

    name = "Kandinsky 5 Image"
    classes = ("Kandinsky5",)

    def accepts(self, unet: Any) -> bool:
        return bool(unet.visual_embed_dim == unet.in_visual_dim * math.prod(unet.patch_size))

    def patch_size(self, unet: Any) -> int:
        return int(unet.patch_size[-1])

    def embedder(self, unet: Any) -> Any:
        return unet.rope_embedder_3d

    def step(self, unet: Any, options: Mapping[str, Any]) -> float:
        """The host's node that scales positions takes the place of the model's own scale."""
        if options.get("rope_options") is not None:
            return scale_of_positions(options)
        return 1.0 / float(unet.rope_scale_factor[2])

    def modules(self, unet: Any) -> Iterator[tuple[LayerKey, Any]]:
        for number, block in enumerate(unet.visual_transformer_blocks):
            yield ("double", number), block.self_attention

    def layer(self, unet: Any, key: LayerKey, image: Image, arguments: Mapping[str, Any]) -> Layer:
        return Layer(key, from_end(0, image), heads_third(arguments["freqs"]))
