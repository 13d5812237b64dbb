"""Krea 2 and Ideogram 4: one stream [text ; image]."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from positions import Rope, Tokens, grid, halved, line
from torch import nn
from variant import LayerKey, Variant, numbered, padded

KREA2 = {
    "image_model": "krea2",
    "features": 64,
    "heads": 4,
    "kvheads": 2,
    "multiplier": 2,
    "layers": 3,
    "channels": 16,
    "patch": 2,
    "txtdim": 16,
    "txtlayers": 3,
    "txtheads": 2,
    "txtkvheads": 2,
}
IDEOGRAM4 = {
    "image_model": "ideogram4",
    "in_channels": 128,
    "num_layers": 3,
    "num_attention_heads": 2,
    "attention_head_dim": 32,
    "intermediate_size": 64,
    "adaln_dim": 48,
    "llm_features_dim": 40,
    "rope_theta": 5000000,
    "mrope_section": [6, 5, 5],
    "norm_eps": 1e-5,
}
IMAGE_POSITION = 64
"""Where Ideogram 4's images begin, in the tests: at the host's 65536 float32 angles are good to 4e-3 only."""


def krea2_layers(unet: Any) -> Iterator[tuple[LayerKey, nn.Module]]:
    yield from numbered("single", unet.blocks)


def krea2_rope(unet: Any) -> Rope:
    return Rope.of_axes((4, 6, 6), 1000.0)


def krea2_tokens(unet: Any, latent: torch.Size, count: int) -> Tokens:
    height, width = map(halved, latent[-2:])
    text = count - height * width
    positions = torch.cat([line(text, 3), grid(0.0, range(height), range(width))])
    return Tokens(slice(text, count), width, positions)


def ideogram4_layers(unet: Any) -> Iterator[tuple[LayerKey, nn.Module]]:
    yield from numbered("single", unet.layers)


def ideogram4_rope(unet: Any) -> Rope:
    """Pairs follow height and width in turn as far as their sections reach, every third pair and the rest time."""
    pairs = IDEOGRAM4["attention_head_dim"] // 2
    sections = IDEOGRAM4["mrope_section"]
    axes = [p % 3 if p % 3 and p < 3 * sections[p % 3] else 0 for p in range(pairs)]
    frequencies = [float(IDEOGRAM4["rope_theta"]) ** (-p / pairs) for p in range(pairs)]
    return Rope(tuple(axes), tuple(frequencies), halves=True)


def ideogram4_tokens(unet: Any, latent: torch.Size, count: int) -> Tokens:
    """A token a latent pixel; a call without text has the image alone."""
    height, width = latent[-2:]
    text = count - height * width
    image = IMAGE_POSITION + grid(0.0, range(height), range(width))
    return Tokens(slice(text, count), width, torch.cat([line(text, 3, (0, 1, 2)), image]))


NEAR = (("comfy.ldm.ideogram4.model", "IMAGE_POSITION_OFFSET", IMAGE_POSITION),)

VARIANTS = [
    Variant("krea2", "Krea2", KREA2, (16, 1, 7, 10), 48, krea2_layers, krea2_tokens, krea2_rope),
    Variant(
        "ideogram4", "Ideogram4", IDEOGRAM4, (128, 3, 5), 40, ideogram4_layers, ideogram4_tokens, ideogram4_rope,
        constants=NEAR,
    ),
    Variant(
        "ideogram4_padded", "Ideogram4", IDEOGRAM4, (128, 4, 3), 40, ideogram4_layers, ideogram4_tokens,
        ideogram4_rope, padded, constants=NEAR,
    ),
]  # fmt: skip
