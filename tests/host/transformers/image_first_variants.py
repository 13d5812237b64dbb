"""HiDream I1, Lens, JoyImage: [image ; (reference latents ;) text]."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from positions import Rope, Tokens, grid, halved, line
from torch import nn
from variant import LayerKey, Variant, numbered, padded

HIDREAM = {
    "image_model": "hidream",
    "attention_head_dim": 32,
    "axes_dims_rope": [16, 8, 8],
    "caption_channels": [40, 48],
    "max_resolution": [32, 32],
    "in_channels": 16,
    "llama_layers": [0, 1, 1],
    "num_attention_heads": 2,
    "num_routed_experts": 2,
    "num_activated_experts": 2,
    "num_layers": 1,
    "num_single_layers": 2,
    "out_channels": 16,
    "patch_size": 2,
    "text_emb_dim": 24,
}
LENS = {
    "image_model": "lens",
    "in_channels": 128,
    "out_channels": 32,
    "num_layers": 3,
    "attention_head_dim": 32,
    "num_attention_heads": 2,
    "enc_hidden_dim": 10,
    "axes_dims_rope": (8, 12, 12),
    "selected_layer_index": (0, 1, 2, 3),
}
JOY = {
    "image_model": "joyimage",
    "patch_size": [1, 2, 2],
    "in_channels": 16,
    "hidden_size": 64,
    "num_attention_heads": 2,
    "text_dim": 40,
    "mlp_width_ratio": 2.0,
    "num_layers": 3,
    "rope_dim_list": [8, 12, 12],
    "theta": 10000,
}


def hidream_layers(unet: Any) -> Iterator[tuple[LayerKey, nn.Module]]:
    yield from numbered("double", unet.double_stream_blocks)
    yield from numbered("single", unet.single_stream_blocks)


def hidream_tokens(unet: Any, latent: torch.Size, count: int) -> Tokens:
    height, width = map(halved, latent[-2:])
    image = grid(0.0, range(height), range(width))
    return Tokens(slice(0, len(image)), width, torch.cat([image, line(count - len(image), 3)]))


def hidream_rope(unet: Any) -> Rope:
    return Rope.of_axes(unet.pe_embedder.axes_dim)


def with_llama(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return {
        "pooled_output": torch.randn(rows, 24, generator=generator),
        "conditioning_llama3": torch.randn(rows, 2, 6, 48, generator=generator),
    }


def lens_layers(unet: Any) -> Iterator[tuple[LayerKey, nn.Module]]:
    yield from numbered("double", unet.transformer_blocks)


def lens_tokens(unet: Any, latent: torch.Size, count: int) -> Tokens:
    """A token a latent pixel; of an odd side the longer half is before 0; the text goes on diagonally."""
    height, width = latent[-2:]
    image = grid(0.0, *(range(side // 2 - side, side // 2) for side in (height, width)))
    text = line(count - len(image), 3, (0, 1, 2), max(height // 2, width // 2))
    return Tokens(slice(0, len(image)), width, torch.cat([image, text]))


def lens_rope(unet: Any) -> Rope:
    return Rope.of_axes(unet.pos_embed.axes_dim)


def joy_layers(unet: Any) -> Iterator[tuple[LayerKey, nn.Module]]:
    yield from numbered("double", unet.double_blocks)


def joy_tokens(reference: tuple[int, int] | None = None) -> Any:
    """[image ; reference latents ; text]; the text is not turned."""

    def tokens(unet: Any, latent: torch.Size, count: int) -> Tokens:
        height, width = map(halved, latent[-2:])
        parts = [grid(0.0, range(height), range(width))]
        if reference is not None:
            parts.append(grid(1.0, *(range(halved(side)) for side in reference)))
        text = line(count - sum(map(len, parts)), 3)
        return Tokens(slice(0, height * width), width, torch.cat([*parts, text]))

    return tokens


def joy_rope(unet: Any) -> Rope:
    return Rope.of_axes(unet.rope_dim_list, unet.theta)


def with_reference(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return {"reference_latents": [torch.randn(1, 16, 1, 5, 8, generator=generator)]}


VARIANTS = [
    Variant(
        "hidream_i1", "HiDream", HIDREAM, (16, 7, 10), 40, hidream_layers, hidream_tokens, hidream_rope, with_llama
    ),
    Variant("lens", "Lens", LENS, (128, 3, 5), 40, lens_layers, lens_tokens, lens_rope),
    Variant("lens_padded", "Lens", LENS, (128, 4, 3), 40, lens_layers, lens_tokens, lens_rope, padded),
    Variant("joyimage", "JoyImage", JOY, (16, 1, 7, 10), 40, joy_layers, joy_tokens(), joy_rope),
    Variant(
        "joyimage_edit", "JoyImage", JOY, (16, 1, 6, 9), 40, joy_layers, joy_tokens((5, 8)), joy_rope, with_reference
    ),
]  # fmt: skip
