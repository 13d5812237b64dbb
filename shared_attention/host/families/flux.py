"""Flux and its kin: [text ; image ; reference images of edit models], two streams first and then one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...layers import LayerKey
from ...rotary import Rotary
from .transformer import Embedded, Image, Layer, from_start, numbered, scale_of_positions


class TwoStreams(Embedded):
    """Double blocks hold text and image apart but for the attention, single blocks hold them in one."""

    is_patched_before_rotation = True

    def modules(self, unet: Any) -> Iterator[tuple[LayerKey, Any]]:
        yield from numbered("double", unet.double_blocks)
        yield from numbered("single", unet.single_blocks)

    def layer(self, unet: Any, key: LayerKey, image: Image, arguments: Mapping[str, Any]) -> Layer:
        is_double = key[0] == "double"
        text = arguments["txt"].shape[1] if is_double else arguments["transformer_options"]["img_slice"][0]
        return Layer(key, from_start(text, image), Rotary(arguments["pe"]))


class Flux1(TwoStreams):
    """Flux.1 dev, schnell, Fill, Kontext, Redux and what was made from them.

    Single blocks share: AlignedGen (Zhang et al., its own script: attentions 19 to 56) and Untwisting RoPE both say so.
    """

    name = "Flux.1"
    classes = ("Flux",)
    shared_by_default = "single"

    def accepts(self, unet: Any) -> bool:
        return len(unet.params.axes_dim) == 3 and not unet.params.txt_ids_dims

    def step(self, unet: Any, options: Mapping[str, Any]) -> float:
        return scale_of_positions(options)


class Flux2(Flux1):
    """Flux.2 dev and Klein: a token a latent pixel, text on a position axis of its own.

    Single blocks share: measured on Klein 4B by the author of FHult/iris.c.
    """

    name = "Flux.2"
    axes = "tyxl"

    def accepts(self, unet: Any) -> bool:
        return len(unet.params.axes_dim) == 4


class LongCat(Flux1):
    """LongCat-Image and Ovis-Image: Flux.1's blocks, text with positions in the image's plane.

    No author has published a choice of blocks.
    """

    name = "LongCat-Image and Ovis-Image"
    shared_by_default = ""

    def accepts(self, unet: Any) -> bool:
        return len(unet.params.axes_dim) == 3 and bool(unet.params.txt_ids_dims)


class Chroma(TwoStreams):
    """Chroma and Chroma Radiance: Flux.1's layout without reference images. No author has published a choice."""

    name = "Chroma"
    classes = ("Chroma", "ChromaRadiance")
