"""Qwen-Image and Mage-Flow: [text ; image ; reference images], the image's positions centred on zero."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...layers import LayerKey
from ...rotary import Rotary
from .transformer import Embedded, Image, Layer, from_start, numbered


class QwenImage(Embedded):
    """Qwen-Image, Edit and Layered (whose layers are frames). No author has published a choice of blocks.

    The model keeps its rotations in its own dtype, so in bfloat16 they are rounded.
    """

    name = "Qwen-Image"
    classes = ("QwenImageTransformer2DModel",)
    is_patched_before_rotation = True
    is_centred = True

    def modules(self, unet: Any) -> Iterator[tuple[LayerKey, Any]]:
        return numbered("double", unet.transformer_blocks)

    def layer(self, unet: Any, key: LayerKey, image: Image, arguments: Mapping[str, Any]) -> Layer:
        text = arguments["encoder_hidden_states"].shape[1]
        return Layer(key, from_start(text, image), Rotary(arguments["image_rotary_emb"]))


class MageFlow(QwenImage):
    """Qwen-Image's blocks, a token a latent pixel."""

    name = "Mage-Flow"
    classes = ("MageFlowTransformer2DModel",)
