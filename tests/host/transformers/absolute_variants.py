"""SD 3, SD 3.5, AuraFlow: [(registers ;) text ; image], positions added to the image before the layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from positions import Tokens, halved
from torch import nn
from variant import LayerKey, Variant, numbered

SD3 = {
    "in_channels": 16,
    "patch_size": 2,
    "depth": 2,
    "num_blocks": 3,
    "input_size": None,
    "adm_in_channels": 24,
    "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 40, "out_features": 128}},
    "num_patches": 256,
    "pos_embed_max_size": 16,
    "pos_embed_scaling_factor": None,
}
AURA = {
    "dim": 64,
    "n_layers": 4,
    "n_double_layers": 2,
    "n_heads": 2,
    "global_conddim": 64,
    "cond_seq_dim": 40,
    "max_seq": 256,
}


def sd3_layers(unet: Any) -> Iterator[tuple[LayerKey, nn.Module]]:
    yield from numbered("double", unet.joint_blocks)


def aura_layers(unet: Any) -> Iterator[tuple[LayerKey, nn.Module]]:
    yield from numbered("double", unet.double_layers)
    yield from numbered("single", unet.single_layers)


def image_last(unet: Any, latent: torch.Size, count: int) -> Tokens:
    """Also of SD 3.5 medium's second attention, of the image alone."""
    height, width = map(halved, latent[-2:])
    return Tokens(slice(count - height * width, count), width)


def pooled(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return {"pooled_output": torch.randn(rows, 24, generator=generator)}


VARIANTS = [
    Variant("sd3", "SD3", SD3, (16, 7, 10), 40, sd3_layers, image_last, conditioned=pooled),
    Variant(
        "sd35_medium", "SD3", {**SD3, "qk_norm": "rms", "x_block_self_attn_layers": [0, 1]}, (16, 7, 10), 40,
        sd3_layers, image_last, conditioned=pooled,
    ),
    Variant("sd35_large", "SD3", {**SD3, "qk_norm": "rms"}, (16, 6, 9), 40, sd3_layers, image_last, conditioned=pooled),
    Variant("auraflow", "AuraFlow", AURA, (4, 7, 10), 40, aura_layers, image_last),
]  # fmt: skip
