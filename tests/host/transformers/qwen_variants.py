"""Qwen-Image, its Edit and Layered forms, MageFlow: [text ; image ; reference latents], positions centred."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from positions import Rope, Tokens, grid, halved, line
from torch import nn
from variant import LayerKey, Variant, numbered, padded

AXES = (8, 12, 12)
QWEN = {
    "image_model": "qwen_image",
    "in_channels": 64,
    "num_layers": 3,
    "attention_head_dim": sum(AXES),
    "num_attention_heads": 2,
    "joint_attention_dim": 40,
    "axes_dims_rope": AXES,
}
MAGE = {
    **QWEN,
    "image_model": "mage_flow",
    "in_channels": 128,
}


def qwen_layers(unet: Any) -> Iterator[tuple[LayerKey, nn.Module]]:
    yield from numbered("double", unet.transformer_blocks)


def qwen_rope(unet: Any) -> Rope:
    return Rope.of_axes(AXES)


def centred(side: int) -> range:
    return range(-(side // 2), side - side // 2)


def qwen_tokens(reference: tuple[int, int] | None = None) -> Any:
    """The text goes on diagonally from the image's corner. reference: height and width of the reference latent."""

    def tokens(unet: Any, latent: torch.Size, count: int) -> Tokens:
        frames, height, width = latent[2], halved(latent[3]), halved(latent[4])
        parts = [grid(range(frames), centred(height), centred(width))]
        if reference is not None:
            parts.append(grid(1.0, *(centred(halved(side)) for side in reference)))
        text = count - sum(map(len, parts))
        positions = torch.cat([line(text, 3, (0, 1, 2), max(height // 2, width // 2)), *parts])
        return Tokens(slice(text, text + frames * height * width), width, positions)

    return tokens


def mage_tokens(unet: Any, latent: torch.Size, count: int) -> Tokens:
    """A token a latent pixel; of an odd side the longer half is before 0; the text is not turned."""
    height, width = latent[-2:]
    text = count - height * width
    image = grid(0.0, *(range(side // 2 - side, side // 2) for side in (height, width)))
    return Tokens(slice(text, count), width, torch.cat([line(text, 3), image]))


def with_reference(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return {"reference_latents": [torch.randn(1, 16, 1, 5, 8, generator=generator)]}


VARIANTS = [
    Variant("qwen_image", "QwenImage", QWEN, (16, 1, 7, 10), 40, qwen_layers, qwen_tokens(), qwen_rope),
    Variant("qwen_image_padded", "QwenImage", QWEN, (16, 1, 6, 9), 40, qwen_layers, qwen_tokens(), qwen_rope, padded),
    Variant(
        "qwen_image_edit", "QwenImage", QWEN, (16, 1, 7, 10), 40, qwen_layers, qwen_tokens((5, 8)), qwen_rope,
        with_reference,
    ),
    Variant(
        "qwen_image_layered", "QwenImage",
        {**QWEN, "use_additional_t_cond": True, "default_ref_method": "negative_index"},
        (16, 3, 4, 6), 40, qwen_layers, qwen_tokens(), qwen_rope,
    ),
    Variant("mage_flow", "MageFlow", MAGE, (128, 3, 5), 40, qwen_layers, mage_tokens, qwen_rope),
    Variant("mage_flow_padded", "MageFlow", MAGE, (128, 4, 3), 40, qwen_layers, mage_tokens, qwen_rope, padded),
]  # fmt: skip
