"""Lumina 2 and Z-Image: [text, padded ; (other images) ; image ; padding].

Its refiners see text or image alone before the layers and are left as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...layers import LayerKey
from .transformer import Embedded, Image, Layer, from_end, heads_third, numbered, scale_of_positions


class Lumina2(Embedded):
    """Lumina 2. No author has published a choice of blocks."""

    name = "Lumina 2"
    classes: tuple[str, ...] = ("NextDiT",)

    def knows(self, unet: Any) -> bool:
        """Not Ming-Image, whose tokens of reference images follow the image's; the host marks it so."""
        return not hasattr(unet, "__ming_image__") and super().knows(unet)

    def accepts(self, unet: Any) -> bool:
        return unet.pad_tokens_multiple is None

    def embedder(self, unet: Any) -> Any:
        return unet.rope_embedder

    def step(self, unet: Any, options: Mapping[str, Any]) -> float:
        return scale_of_positions(options)

    def modules(self, unet: Any) -> Iterator[tuple[LayerKey, Any]]:
        return numbered("double", unet.layers)

    def layer(self, unet: Any, key: LayerKey, image: Image, arguments: Mapping[str, Any]) -> Layer:
        padding = -image.tokens % (unet.pad_tokens_multiple or 1)
        return Layer(key, from_end(padding, image), heads_third(arguments["freqs_cis"]))


class ZImage(Lumina2):
    """Z-Image, of latents or of pixels: text and image are each padded with tokens of their own.

    All layers share: Untwisting RoPE's ComfyUI port for it does so.
    """

    name = "Z-Image"
    classes = ("NextDiT", "NextDiTPixelSpace")

    def accepts(self, unet: Any) -> bool:
        return True
