"""Cosmos-Predict2, Anima, Kandinsky 5 Image: the image attends to itself alone, the text comes by cross-attention."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from positions import Rope, Tokens, grid, halved
from torch import nn
from variant import LayerKey, Variant, numbered

COSMOS = {
    "image_model": "cosmos_predict2",
    "max_img_h": 240,
    "max_img_w": 240,
    "max_frames": 128,
    "in_channels": 16,
    "out_channels": 16,
    "patch_spatial": 2,
    "patch_temporal": 1,
    "model_channels": 48,
    "concat_padding_mask": True,
    "crossattn_emb_channels": 40,
    "pos_emb_cls": "rope3d",
    "pos_emb_learnable": True,
    "pos_emb_interpolation": "crop",
    "min_fps": 1,
    "max_fps": 30,
    "use_adaln_lora": True,
    "adaln_lora_dim": 16,
    "num_blocks": 3,
    "num_heads": 2,
    "extra_per_block_abs_pos_emb": False,
    "rope_h_extrapolation_ratio": 4.0,
    "rope_w_extrapolation_ratio": 4.0,
    "rope_t_extrapolation_ratio": 1.0,
    "rope_enable_fps_modulation": False,
}
KANDINSKY = {
    "image_model": "kandinsky5",
    "in_visual_dim": 16,
    "out_visual_dim": 16,
    "in_text_dim": 40,
    "in_text_dim2": 24,
    "time_dim": 32,
    "model_dim": 48,
    "ff_dim": 64,
    "visual_embed_dim": 64,
    "num_text_blocks": 1,
    "num_visual_blocks": 3,
    "axes_dims": (8, 8, 8),
    "rope_scale_factor": (1.0, 1.0, 1.0),
}


def cosmos_layers(unet: Any) -> Iterator[tuple[LayerKey, nn.Module]]:
    yield from numbered("single", unet.blocks, "self_attn")


def image_alone(unet: Any, latent: torch.Size, count: int) -> Tokens:
    height, width = map(halved, latent[-2:])
    return Tokens(slice(0, count), width, grid(0.0, range(height), range(width)))


def cosmos_rope(unet: Any) -> Rope:
    """A head of 24 channels: 8 an axis; its bases are stretched for sizes beyond those of training."""
    stretch = 4.0 ** (8 / 6)
    return Rope.of_axes((8, 8, 8), (10000.0, 10000.0 * stretch, 10000.0 * stretch), halves=True)


def kandinsky_layers(unet: Any) -> Iterator[tuple[LayerKey, nn.Module]]:
    yield from numbered("double", unet.visual_transformer_blocks, "self_attention")


def kandinsky_tokens(unet: Any, latent: torch.Size, count: int) -> Tokens:
    """Neighbours are a position apart, or less where the model says so."""
    height, width = map(halved, latent[-2:])
    step = 1 / unet.rope_scale_factor[2]
    return Tokens(slice(0, count), width, step * grid(0.0, range(height), range(width)), step)


def kandinsky_rope(unet: Any) -> Rope:
    return Rope.of_axes(KANDINSKY["axes_dims"])


def pooled(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return {"pooled_output": torch.randn(rows, 24, generator=generator)}


def no_adapter(**_: Any) -> nn.Module:
    """In place of Anima's: it is large, and the prompts of the tests are given as it would return them."""
    return nn.Identity()


WITHOUT_ADAPTER = (("comfy.ldm.anima.model", "LLMAdapter", no_adapter),)


VARIANTS = [
    Variant(
        "cosmos_predict2", "CosmosT2IPredict2", COSMOS, (16, 1, 7, 10), 40, cosmos_layers, image_alone, cosmos_rope
    ),
    Variant(
        "anima", "Anima", {**COSMOS, "image_model": "anima"}, (16, 1, 7, 10), 40, cosmos_layers, image_alone,
        cosmos_rope, constants=WITHOUT_ADAPTER,
    ),
    Variant(
        "kandinsky5_image", "Kandinsky5Image", KANDINSKY, (16, 8, 10), 40, kandinsky_layers, kandinsky_tokens,
        kandinsky_rope, pooled,
    ),
    Variant(
        "kandinsky5_half_steps", "Kandinsky5Image", {**KANDINSKY, "rope_scale_factor": (1.0, 2.0, 2.0)},
        (16, 6, 8), 40, kandinsky_layers, kandinsky_tokens, kandinsky_rope, pooled,
    ),
]  # fmt: skip
