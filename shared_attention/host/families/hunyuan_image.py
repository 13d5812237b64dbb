"""HunyuanImage 2.1: [text ; (glyphs) ; image] in Flux's blocks; the refiner of its text is left as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...layers import LayerKey
from ...rotary import Rotary
from .flux import TwoStreams
from .transformer import Image, Layer, from_end


class HunyuanImage(TwoStreams):
    """No author has published a choice of blocks. The class is also HunyuanVideo's, which has patches in time."""

    name = "HunyuanImage 2.1"
    classes = ("HunyuanVideo",)
    axes = "yx"

    def accepts(self, unet: Any) -> bool:
        return len(unet.patch_size) == 2

    def patch_size(self, unet: Any) -> int:
        return int(unet.patch_size[-1])

    def layer(self, unet: Any, key: LayerKey, image: Image, arguments: Mapping[str, Any]) -> Layer:
        return Layer(key, from_end(0, image), Rotary(arguments["pe"]))
