"""HiDream I1: [image ; text]."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...layers import LayerKey
from .transformer import Embedded, Image, Layer, from_start, heads_third, numbered


class HiDream(Embedded):
    """HiDream I1 Full, Dev and Fast. No author has published a choice of blocks."""

    name = "HiDream I1"
    classes = ("HiDreamImageTransformer2DModel",)

    def check_call(self, conditioning: Mapping[str, Any]) -> None:
        if conditioning.get("image_cond") is not None:
            raise ValueError(
                "HiDream E1 cannot share attention: its tokens alternate between the picture to edit and the "
                "new one. Use HiDream I1, or leave out the node that gives the picture to edit."
            )

    def modules(self, unet: Any) -> Iterator[tuple[LayerKey, Any]]:
        yield from numbered("double", unet.double_stream_blocks)
        yield from numbered("single", unet.single_stream_blocks)

    def most_tokens(self, unet: Any) -> tuple[int | None, int | None]:
        return None, int(unet.max_seq)

    def layer(self, unet: Any, key: LayerKey, image: Image, arguments: Mapping[str, Any]) -> Layer:
        return Layer(key, from_start(0, image), heads_third(arguments["rope"]))
