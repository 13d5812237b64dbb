"""Krea 2: [text ; image ; reference images] in one stream; its text fusion is left as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...layers import LayerKey
from ...rotary import Rotary
from .transformer import Embedded, Image, Layer, from_start, numbered


class Krea2(Embedded):
    """Blocks 7 to 27 share: nkxx188's ComfyUI-Krea2-StyleTransfer found that earlier ones hurt composition."""

    name = "Krea 2"
    classes = ("SingleStreamDiT",)
    shared_by_default = "single.7-27"
    is_patched_before_rotation = True

    def patch_size(self, unet: Any) -> int:
        return int(unet.patch)

    def modules(self, unet: Any) -> Iterator[tuple[LayerKey, Any]]:
        return numbered("single", unet.blocks)

    def channels_kept(self, module: Any) -> int:
        """Several heads of queries have one of keys."""
        return 2 * int(module.attn.kvheads * module.attn.headdim)

    def layer(self, unet: Any, key: LayerKey, image: Image, arguments: Mapping[str, Any]) -> Layer:
        text = arguments["transformer_options"]["img_slice"][0]
        return Layer(key, from_start(text, image), Rotary(arguments["freqs"]))
