"""AuraFlow: [registers ; text ; image], learned absolute positions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...layers import LayerKey
from .transformer import Image, Layer, Transformer, from_end, numbered


class AuraFlow(Transformer):
    """AuraFlow and Pony V7, which was made from it. No author has published a choice of blocks."""

    name = "AuraFlow"
    classes = ("aura.mmdit.MMDiT",)

    def modules(self, unet: Any) -> Iterator[tuple[LayerKey, Any]]:
        yield from numbered("double", unet.double_layers)
        yield from numbered("single", unet.single_layers)

    def most_tokens(self, unet: Any) -> tuple[int | None, int | None]:
        return min(int(unet.h_max), int(unet.w_max)), None

    def layer(self, unet: Any, key: LayerKey, image: Image, arguments: Mapping[str, Any]) -> Layer:
        return Layer(key, from_end(0, image), None)
