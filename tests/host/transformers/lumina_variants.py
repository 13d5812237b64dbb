"""Lumina 2, Z-Image and its pixel space form: [text, padded ; image ; padding]; refiners before are not shared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from positions import Rope, Tokens, grid, halved, line
from torch import nn
from variant import LayerKey, Variant, numbered

LUMINA = {
    "image_model": "lumina2",
    "patch_size": 2,
    "in_channels": 16,
    "dim": 64,
    "n_layers": 2,
    "n_refiner_layers": 1,
    "n_heads": 4,
    "n_kv_heads": 2,
    "axes_dims": [4, 6, 6],
    "axes_lens": [300, 512, 512],
    "rope_theta": 10000.0,
    "ffn_dim_multiplier": 1.0,
    "multiple_of": 32,
    "qk_norm": True,
    "cap_feat_dim": 40,
}
Z_IMAGE = {
    **LUMINA,
    "dim": 256,
    "n_heads": 8,
    "n_kv_heads": 8,
    "axes_dims": [8, 12, 12],
    "rope_theta": 256.0,
    "ffn_dim_multiplier": 0.5,
    "z_image_modulation": True,
    "time_scale": 1000.0,
    "pad_tokens_multiple": 32,
}
Z_IMAGE_PIXEL = {
    **Z_IMAGE,
    "image_model": "zimage_pixel",
    "patch_size": 4,
    "in_channels": 3,
    "decoder_hidden_size": 32,
    "decoder_num_res_blocks": 1,
    "decoder_max_freqs": 4,
}


def lumina_layers(unet: Any) -> Iterator[tuple[LayerKey, nn.Module]]:
    yield from numbered("double", unet.layers)


def lumina_rope(unet: Any) -> Rope:
    return Rope.of_axes(unet.axes_dims, unet.rope_embedder.theta)


def lumina_tokens(unet: Any, latent: torch.Size, count: int) -> Tokens:
    """The text counts from 1 along the first axis, the image comes after it; padding of the image stands at 0."""
    height, width = (halved(side, unet.patch_size) for side in latent[-2:])
    padding = -(height * width) % (unet.pad_tokens_multiple or 1)
    text = count - height * width - padding
    image = grid(text + 1.0, range(height), range(width))
    positions = torch.cat([line(text, 3, (0,), 1.0), image, line(padding, 3)])
    return Tokens(slice(text, text + height * width), width, positions)


VARIANTS = [
    Variant("lumina2", "Lumina2", LUMINA, (16, 7, 10), 40, lumina_layers, lumina_tokens, lumina_rope),
    Variant("z_image", "ZImage", Z_IMAGE, (16, 7, 10), 40, lumina_layers, lumina_tokens, lumina_rope),
    Variant(
        "z_image_pixel", "ZImagePixelSpace", Z_IMAGE_PIXEL, (3, 12, 20), 40, lumina_layers, lumina_tokens, lumina_rope
    ),
]
