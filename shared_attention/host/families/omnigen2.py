"""OmniGen2 and Boogu: [text ; reference images ; image]. Their three kinds of refiners are left as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...layers import LayerKey
from .transformer import Embedded, Image, Layer, from_end, heads_third, numbered


class OmniGen2(Embedded):
    """OmniGen2. No author has published a choice of blocks. Several heads of queries have one of keys."""

    name = "OmniGen2"
    classes = ("OmniGen2Transformer2DModel",)

    def embedder(self, unet: Any) -> Any:
        return unet.rope_embedder.rope_embedder

    def modules(self, unet: Any) -> Iterator[tuple[LayerKey, Any]]:
        return numbered("single", unet.layers)

    def channels_kept(self, module: Any) -> int:
        attention = next(part for part in module.modules() if hasattr(part, "kv_heads"))
        return 2 * int(attention.kv_heads * attention.dim_head)

    def layer(self, unet: Any, key: LayerKey, image: Image, arguments: Mapping[str, Any]) -> Layer:
        return Layer(key, from_end(0, image), heads_third(arguments["image_rotary_emb"]))
