"""Boogu: [text ; reference images ; image], double blocks that attend twice and single ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...layers import LayerKey
from .omnigen2 import OmniGen2
from .transformer import Image, Layer, from_end, heads_third, numbered


class Boogu(OmniGen2):
    """Double blocks attend to text and images together, then within the images. No author has published a choice."""

    name = "Boogu"
    classes = ("BooguTransformer2DModel",)

    def modules(self, unet: Any) -> Iterator[tuple[LayerKey, Any]]:
        for key, block in numbered("double", unet.double_stream_layers):
            yield key, block.img_instruct_attn
            yield key, block.img_self_attn
        yield from numbered("single", unet.single_stream_layers)

    def layer(self, unet: Any, key: LayerKey, image: Image, arguments: Mapping[str, Any]) -> Layer:
        # The joint attention alone has another name for its rotations.
        name = "rotary_emb" if "rotary_emb" in arguments else "image_rotary_emb"
        return Layer(key, from_end(0, image), heads_third(arguments[name]))
