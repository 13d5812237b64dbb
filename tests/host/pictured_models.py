"""Tiny random models whose conditioning has pictures in it, and networks that steer a model by pictures or boxes."""

from __future__ import annotations

from typing import Any

import comfy.cldm.cldm
import comfy.controlnet
import comfy.gligen
import comfy.model_patcher
import comfy.ops
import comfy.supported_models
import torch
from tiny_models import COMMON_UNET, CONTEXT, CPU, randomise, tiny_model

from nodes import ControlNetApplyAdvanced, InpaintModelConditioning  # the host's

_HEADS = {"num_heads": 8, "num_head_channels": -1, "use_linear_in_transformer": False}
_FLUX = {
    "image_model": "flux",
    "vec_in_dim": 1280,
    "context_in_dim": CONTEXT,
    "hidden_size": 64,
    "mlp_ratio": 2.0,
    "num_heads": 4,
    "depth": 1,
    "depth_single_blocks": 1,
    "axes_dim": [4, 6, 6],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": True,
    "out_channels": 16,
    "txt_ids_dims": [],
}
MODELS: dict[str, tuple[type, dict[str, Any]]] = {
    "instruct_pix2pix": (comfy.supported_models.SD15_instructpix2pix, {**COMMON_UNET, **_HEADS, "in_channels": 8}),
    "unclip": (
        comfy.supported_models.SD21UnclipL,
        {**COMMON_UNET, **_HEADS, "model_channels": 64, "num_classes": "sequential", "adm_in_channels": 1536},
    ),
    "flux_fill": (comfy.supported_models.FluxInpaint, {**_FLUX, "in_channels": 96}),
    "flux_canny": (comfy.supported_models.Flux, {**_FLUX, "in_channels": 32}),
    "flux": (comfy.supported_models.Flux, {**_FLUX, "in_channels": 16}),
}


def pictured_model(name: str) -> comfy.model_patcher.ModelPatcher:
    if name not in MODELS:
        return tiny_model(name)
    kind, unet = MODELS[name]
    config = kind(dict(unet))
    config.set_inference_dtype(torch.float32, None)
    model = config.get_model({}, "", CPU)
    randomise(model, 0)
    return comfy.model_patcher.CoreModelPatcher(model.eval(), CPU, CPU)


class Vae:
    """Encodes to a latent of `channels` by taking every eighth pixel."""

    def __init__(self, channels: int) -> None:
        self.channels = channels

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        small = pixels[:, ::8, ::8].movedim(-1, 1)
        return small.repeat(1, self.channels // 3 + 1, 1, 1)[:, : self.channels]


def pixels(images: int, seed: int = 4) -> torch.Tensor:
    return torch.rand(images, 64, 64, 3, generator=torch.Generator().manual_seed(seed))


def inpainting(conditions: tuple[list, list], channels: int, images: int) -> tuple[list, list, dict]:
    """The host's Inpaint Model Conditioning of random pictures, whose left half is masked."""
    mask = torch.zeros(images, 64, 64)
    mask[:, :, :32] = 1
    return InpaintModelConditioning().encode(*conditions, pixels(images), Vae(channels), mask)


def control_net(seed: int = 5) -> comfy.controlnet.ControlNet:
    """The host's, of a size that fits the tiny SD 1.5."""
    names = ("image_size", "in_channels", "model_channels", "num_res_blocks", "channel_mult", "transformer_depth")
    shape = {name: COMMON_UNET[name] for name in (*names, "transformer_depth_middle", "context_dim")}
    network = comfy.cldm.cldm.ControlNet(
        **shape, hint_channels=3, use_spatial_transformer=True, num_heads=8, operations=comfy.ops.manual_cast
    )
    randomise(network, seed)
    return comfy.controlnet.ControlNet(network.eval(), load_device=CPU)


def controlled(conditions: tuple[list, list], images: int = 1) -> tuple[list, list]:
    """With the host's ControlNet node, and hints for as many images."""
    return ControlNetApplyAdvanced().apply_controlnet(*conditions, control_net(), pixels(images), 1.0, 0.0, 1.0)


def grounded(conditioning: list, seed: int = 6) -> list:
    """With a GLIGEN box in the left half, as the host's node adds it."""
    channels = [32, 64, 64, 64, 64, 32, 32]  # of the tiny SD 1.5's transformer blocks, in the order they run
    blocks = [comfy.gligen.GatedSelfAttentionDense(size, CONTEXT, 8, size // 8) for size in channels]
    gligen = comfy.gligen.Gligen(blocks, comfy.gligen.PositionNet(CONTEXT, CONTEXT), CONTEXT)
    randomise(gligen, seed)
    for block in blocks:
        block.alpha_attn.data.fill_(1.0)
        block.alpha_dense.data.fill_(1.0)
    patcher = comfy.model_patcher.CoreModelPatcher(gligen.eval(), CPU, CPU)
    box = torch.randn(1, CONTEXT, generator=torch.Generator().manual_seed(seed)), 8, 4, 0, 0
    return [[embeddings, {**options, "gligen": ("position", patcher, [box])}] for embeddings, options in conditioning]
