"""Flux, Qwen-Image, Z-Image and Krea 2 with one or two heads of the real size and few layers.

The host reads most sizes off a checkpoint. Where it takes the published model's, a class of its own, which only the
miniature matches, says others: the host's way to have one more model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import comfy.supported_models
import torch
from torch import nn

from .text_encoders import KREA2_LAYERS, WIDTH

HEAD = 128
"""Channels of a head, which the host counts heads by."""


@dataclass(frozen=True)
class Miniature:
    """family: the class in comfy.supported_models. detected: what the host reads off the checkpoint.

    marks: what of that no published model has. told: what the host does not read off, or reads off as larger.
    """

    family: str
    detected: dict[str, Any]
    marks: dict[str, Any] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def supported(self) -> bool:
        """Whether this host has the model."""
        return hasattr(comfy.supported_models, self.family)

    def config_class(self) -> type:
        family = getattr(comfy.supported_models, self.family)
        if not self.told:
            return family
        attributes = {"unet_config": {**family.unet_config, **self.marks}, "unet_extra_config": self.told}
        return type(f"Small{self.family}", (family,), attributes)

    def made(self) -> nn.Module:
        """The model, its weights not yet set."""
        config = self.config_class()(self.detected)
        config.set_inference_dtype(torch.float32, None)
        return config.get_model({}, "", torch.device("cpu")).diffusion_model


FLUX = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "patch_size": 2,
    "vec_in_dim": WIDTH,
    "context_in_dim": WIDTH,
    "hidden_size": HEAD,
    "num_heads": 1,
    "mlp_ratio": 4.0,
    "depth": 1,
    "depth_single_blocks": 2,
    "axes_dim": [16, 56, 56],
    "theta": 10000,
    "qkv_bias": True,
    "guidance_embed": True,
    "txt_ids_dims": [],
}
QWEN = {"image_model": "qwen_image", "in_channels": 64, "num_layers": 2}
Z_IMAGE = {
    "image_model": "lumina2",
    "patch_size": 2,
    "in_channels": 16,
    "dim": 2 * HEAD,
    "cap_feat_dim": WIDTH,
    "n_layers": 2,
    "qk_norm": True,
}
Z_IMAGE_TOLD = {
    "n_heads": 2,
    "n_kv_heads": 2,
    "axes_dims": [32, 48, 48],
    "axes_lens": [1536, 512, 512],
    "rope_theta": 256.0,
    "ffn_dim_multiplier": 0.5,
    "z_image_modulation": True,
    "time_scale": 1000.0,
    "pad_tokens_multiple": 32,
}
KREA2 = {
    "image_model": "krea2",
    "features": HEAD,
    "channels": 16,
    "patch": 2,
    "layers": 9,  # sharing begins at the eighth
    "heads": 1,
    "kvheads": 1,
    "txtlayers": len(KREA2_LAYERS),
    "txtdim": WIDTH,
}

MINIATURES = {
    "flux1-dev.safetensors": Miniature("Flux", FLUX),
    "qwen_image_fp8_e4m3fn.safetensors": Miniature(
        "QwenImage", QWEN, {"num_layers": 2}, {"num_attention_heads": 1, "joint_attention_dim": WIDTH}
    ),
    "z_image_turbo_bf16.safetensors": Miniature("ZImage", Z_IMAGE, {"dim": 2 * HEAD}, Z_IMAGE_TOLD),
    "krea2_turbo_fp8_scaled.safetensors": Miniature(
        "Krea2", KREA2, {"txtdim": WIDTH}, {"txtheads": 2, "txtkvheads": 2}
    ),
}


def register() -> None:
    """Have the stock loader recognise them, before the published models of their family."""
    told = [miniature for miniature in MINIATURES.values() if miniature.supported and miniature.told]
    comfy.supported_models.models[:0] = [miniature.config_class() for miniature in told]
