"""Stable Diffusion 3 and 3.5: [(register ;) text ; image], absolute positions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...layers import LayerKey
from .transformer import Image, Layer, Transformer, from_end, numbered


class SD3(Transformer):
    """SD 3, SD 3.5 medium and large. Medium attends a second time in its first blocks, within the image alone.

    All blocks share: Conditional Balance chooses 28 of 38 anew in each step from a table of measured scores.
    """

    name = "Stable Diffusion 3"
    classes = ("OpenAISignatureMMDITWrapper",)

    def modules(self, unet: Any) -> Iterator[tuple[LayerKey, Any]]:
        return numbered("double", unet.joint_blocks)

    def channels_kept(self, module: Any) -> int:
        return super().channels_kept(module) * (2 if module.x_block.x_block_self_attn else 1)

    def most_tokens(self, unet: Any) -> tuple[int | None, int | None]:
        return (None if unet.pos_embed is None else int(unet.pos_embed_max_size)), None

    def layer(self, unet: Any, key: LayerKey, image: Image, arguments: Mapping[str, Any]) -> Layer:
        # The image comes last, and in the second attention it is all there is.
        return Layer(key, from_end(0, image), None)
