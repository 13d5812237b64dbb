"""HunyuanImage 2.1: [text, its refiner not shared ; bytes of the text ; image], in Flux's blocks."""

from __future__ import annotations

from typing import Any

import torch
from flux_variants import flux_layers
from positions import Rope, Tokens, grid, line
from variant import Variant

HUNYUAN = {
    "image_model": "hunyuan_video",
    "in_channels": 64,
    "out_channels": 64,
    "patch_size": [1, 1],
    "vec_in_dim": None,
    "context_in_dim": 40,
    "hidden_size": 64,
    "mlp_ratio": 2.0,
    "num_heads": 2,
    "depth": 2,
    "depth_single_blocks": 2,
    "axes_dim": [16, 16],
    "theta": 256,
    "qkv_bias": True,
    "guidance_embed": True,
    "byt5": False,
    "meanflow": False,
    "meanflow_sum": False,
    "use_cond_type_embedding": False,
    "vision_in_dim": None,
}


def hunyuan_tokens(unet: Any, latent: torch.Size, count: int) -> Tokens:
    """A token a latent pixel of 64 channels; two axes; the text and its bytes stand at 0."""
    height, width = latent[-2:]
    text = count - height * width
    return Tokens(slice(text, count), width, torch.cat([line(text, 2), grid(range(height), range(width))]))


def hunyuan_rope(unet: Any) -> Rope:
    return Rope.of_axes(unet.params.axes_dim, unet.params.theta, spatial=(0, 1))


def with_bytes(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return {"conditioning_byt5small": torch.randn(rows, 4, 1472, generator=generator)}


VARIANTS = [
    Variant("hunyuan_image", "HunyuanImage21", HUNYUAN, (64, 3, 5), 40, flux_layers, hunyuan_tokens, hunyuan_rope),
    Variant(
        "hunyuan_image_bytes", "HunyuanImage21", {**HUNYUAN, "byt5": True}, (64, 4, 3), 40, flux_layers,
        hunyuan_tokens, hunyuan_rope, with_bytes,
    ),
]  # fmt: skip
