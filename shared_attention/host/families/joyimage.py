"""JoyImage: [image ; reference images ; text]; text is not rotated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from ...layers import LayerKey
from .transformer import Computed, Image, Layer, blocks_of_pairs, from_start, geometric, heads_third, numbered


class JoyImage(Computed):
    """JoyImage and its Edit. No author has published a choice of blocks."""

    name = "JoyImage"
    classes = ("JoyImageTransformer3DModel",)

    def patch_size(self, unet: Any) -> int:
        return int(unet.patch_size[-1])

    def modules(self, unet: Any) -> Iterator[tuple[LayerKey, Any]]:
        return numbered("double", unet.double_blocks)

    def layer(self, unet: Any, key: LayerKey, image: Image, arguments: Mapping[str, Any]) -> Layer:
        return Layer(key, from_start(0, image), heads_third(arguments["image_rotary_emb"]))

    def pair_axes(self, unet: Any) -> str:
        return blocks_of_pairs("tyx", unet.rope_dim_list)

    def frequencies(self, unet: Any) -> Tensor:
        return geometric(unet.theta, unet.rope_dim_list[2])
