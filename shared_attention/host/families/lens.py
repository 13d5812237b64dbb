"""Lens: [image ; text], the image's positions centred on zero."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...layers import LayerKey
from ...rotary import Rotary
from .transformer import Embedded, Image, Layer, from_start, numbered


class Lens(Embedded):
    """A token a latent pixel. No author has published a choice of blocks."""

    name = "Lens"
    is_centred = True
    classes = ("LensTransformer2DModel",)

    def patch_size(self, unet: Any) -> int:
        """1: what the model calls so is the size in pixels of what its latent has already put together."""
        return 1

    def embedder(self, unet: Any) -> Any:
        return unet.pos_embed

    def modules(self, unet: Any) -> Iterator[tuple[LayerKey, Any]]:
        return numbered("double", unet.transformer_blocks)

    def layer(self, unet: Any, key: LayerKey, image: Image, arguments: Mapping[str, Any]) -> Layer:
        return Layer(key, from_start(0, image), Rotary(arguments["freqs_cis"]))
