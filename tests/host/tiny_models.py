"""Tiny random UNets with the structure of real model families, in the host's own model classes."""

from __future__ import annotations

from typing import Any

import comfy.model_patcher
import comfy.supported_models
import torch

CPU = torch.device("cpu")
CONTEXT = 32

COMMON_UNET: dict[str, Any] = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "num_res_blocks": [1, 1],
    "channel_mult": [1, 2],
    "transformer_depth": [1, 1],
    "transformer_depth_output": [1, 1, 1, 1],
    "transformer_depth_middle": 1,
    "context_dim": CONTEXT,
    "use_spatial_transformer": True,
    "use_temporal_attention": False,
    "legacy": False,
    "adm_in_channels": None,
}
_HEADS_8 = {"num_heads": 8, "num_head_channels": -1}
_HEADS_OF_64 = {"num_heads": -1, "num_head_channels": 64, "model_channels": 64}  # these classes know no others
_SDXL_BLOCKS = {
    "transformer_depth": [0, 2],
    "transformer_depth_output": [2, 2, 0, 0],
    "transformer_depth_middle": 2,
    "num_classes": "sequential",
}

FAMILIES: dict[str, tuple[type, dict[str, Any]]] = {
    "sd15": (comfy.supported_models.SD15, {**_HEADS_8, "use_linear_in_transformer": False}),
    "sd15_inpainting": (
        comfy.supported_models.SD15,
        {**_HEADS_8, "use_linear_in_transformer": False, "in_channels": 9},
    ),
    "sd2": (comfy.supported_models.SD20, {**_HEADS_OF_64, "use_linear_in_transformer": True}),
    "sdxl": (
        comfy.supported_models.SDXL,
        {**_HEADS_OF_64, **_SDXL_BLOCKS, "use_linear_in_transformer": True, "adm_in_channels": 2816},
    ),
    "sdxl_refiner": (
        comfy.supported_models.SDXLRefiner,
        {**_HEADS_OF_64, **_SDXL_BLOCKS, "use_linear_in_transformer": True, "adm_in_channels": 2560},
    ),
}
"""The host's class of each family, and how its UNet differs from the others."""


def tiny_model(
    family: str, seed: int = 0, dtype: torch.dtype = torch.float32, **unet: Any
) -> comfy.model_patcher.ModelPatcher:
    """A model of `family` with random weights, wrapped in the host's model patcher."""
    config_class, differences = FAMILIES[family]
    patcher = unfilled(config_class({**COMMON_UNET, **differences, **unet}), dtype)
    randomise(patcher.model, seed)
    patcher.model.eval()
    return patcher


def tiny_sd3() -> comfy.model_patcher.ModelPatcher:
    """A transformer of the flow kind; its weights are as they were in memory."""
    context = {"target": "torch.nn.Linear", "params": {"in_features": 32, "out_features": 128}}
    return unfilled(
        comfy.supported_models.SD3(
            {
                "in_channels": 16,
                "patch_size": 2,
                "depth": 2,
                "input_size": None,
                "adm_in_channels": 64,
                "context_embedder_config": context,
                "num_patches": 256,
                "pos_embed_max_size": 16,
                "pos_embed_scaling_factor": None,
            }
        )
    )


def tiny_svd() -> comfy.model_patcher.ModelPatcher:
    """A video model: a UNet with temporal layers; its weights are as they were in memory."""
    temporal = {
        "use_temporal_attention": True,
        "use_temporal_resblock": True,
        "extra_ff_mix_layer": True,
        "use_spatial_context": True,
        "merge_strategy": "learned_with_images",
        "merge_factor": 0.0,
        "video_kernel_size": [3, 1, 1],
        **_HEADS_OF_64,
    }
    return unfilled(comfy.supported_models.SVD_img2vid({**COMMON_UNET, **temporal}))


def unfilled(config: Any, dtype: torch.dtype = torch.float32) -> comfy.model_patcher.ModelPatcher:
    """A model of the host's `config`, its weights as they were in memory."""
    config.set_inference_dtype(dtype, None)
    return comfy.model_patcher.CoreModelPatcher(config.get_model({}, "", CPU), CPU, CPU)


def small_model() -> comfy.model_patcher.ModelPatcher:
    """A still smaller model, of one level: for what takes long with each block, as compiling does."""
    return tiny_model(
        "sd15", channel_mult=[1], num_res_blocks=[1], transformer_depth=[1], transformer_depth_output=[1, 1]
    )


def smooth_model() -> comfy.model_patcher.ModelPatcher:
    """The small model with a small output, as a trained one's is beside the noise: adaptive samplers stride."""
    patcher = small_model()
    patcher.model.diffusion_model.out[2].weight.data *= 0.1
    return patcher


def randomise(module: torch.nn.Module, seed: int) -> None:
    """Random weights that keep activations near unit size, zero-initialised layers included."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            value = noise / parameter[0].numel() ** 0.5
        else:
            value = 0.1 * noise + (1.0 if name.endswith("weight") else 0.0)
        parameter.data.copy_(value)


def conditioning(rows: int = 1, tokens: int = 8, seed: int = 1, **options: Any) -> list[list[Any]]:
    """A random CONDITIONING that fits every family; the pooled output is read where a family has one."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(rows, tokens, CONTEXT, generator=generator)
    return [[embeddings, {"pooled_output": torch.randn(rows, 1280, generator=generator), **options}]]
