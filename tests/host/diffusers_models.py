"""diffusers' UNets with the structure and the weights of the tiny models, for what is published with diffusers."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import comfy.utils
from comfy.model_patcher import ModelPatcher
from tiny_models import CONTEXT

COMMON: dict[str, Any] = {
    "in_channels": 4,
    "out_channels": 4,
    "layers_per_block": 1,
    "cross_attention_dim": CONTEXT,
    "norm_num_groups": 32,
}
STRUCTURES: dict[str, dict[str, Any]] = {
    "sd15": {
        "block_out_channels": (32, 64),
        "attention_head_dim": 8,
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    },
    "sdxl": {
        "block_out_channels": (64, 128),
        "attention_head_dim": (1, 2),  # numbers of heads, in spite of its name
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "transformer_layers_per_block": 2,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}


def with_the_weights_of(model: ModelPatcher, diffusers: ModuleType, family: str = "sd15") -> Any:
    """diffusers' UNet2DConditionModel as the tiny model of `family` is."""
    unet = diffusers.UNet2DConditionModel(**COMMON, **STRUCTURES[family])
    names = comfy.utils.unet_to_diffusers(model.model.model_config.unet_config)
    weights = model.model.diffusion_model.state_dict()
    ours = {theirs: weights[host] for theirs, host in names.items() if host in weights}
    unet.load_state_dict({name: ours[name] for name in unet.state_dict()})
    return unet.eval()
