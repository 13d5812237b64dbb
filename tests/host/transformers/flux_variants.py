"""Flux.1, LongCat, Flux.2, Chroma, Chroma Radiance: [text ; image ; reference latents]."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from positions import Rope, Tokens, grid, halved, line
from torch import nn
from variant import LayerKey, Variant, numbered

FLUX = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 24,
    "context_in_dim": 40,
    "hidden_size": 64,
    "mlp_ratio": 2.0,
    "num_heads": 2,
    "depth": 2,
    "depth_single_blocks": 2,
    "axes_dim": [8, 12, 12],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": True,
    "txt_ids_dims": [],
}
FLUX2 = {
    **FLUX,
    "image_model": "flux2",
    "in_channels": 128,
    "out_channels": 128,
    "vec_in_dim": None,
    "axes_dim": [8, 8, 8, 8],
    "theta": 2000,
    "patch_size": 1,
    "qkv_bias": False,
    "txt_ids_dims": [3],
    "global_modulation": True,
    "mlp_silu_act": True,
    "ops_bias": False,
    "default_ref_method": "index",
    "ref_index_scale": 10.0,
}
CHROMA = {
    **{name: value for name, value in FLUX.items() if name != "guidance_embed"},
    "image_model": "chroma",
    "in_channels": 64,
    "out_channels": 64,
    "vec_in_dim": None,
    "in_dim": 64,
    "out_dim": 64,
    "hidden_dim": 48,
    "n_layers": 2,
}
RADIANCE = {
    **CHROMA,
    "image_model": "chroma_radiance",
    "in_channels": 3,
    "out_channels": 3,
    "patch_size": 4,
    "nerf_hidden_size": 16,
    "nerf_mlp_ratio": 2,
    "nerf_depth": 1,
    "nerf_max_freqs": 4,
    "nerf_tile_size": 512,
    "nerf_final_head_type": "conv",
    "nerf_embedder_dtype": None,
    "use_x0": False,
    "use_sequential_txt_ids": False,
}


def flux_layers(unet: Any) -> Iterator[tuple[LayerKey, nn.Module]]:
    yield from numbered("double", unet.double_blocks)
    yield from numbered("single", unet.single_blocks)


def flux_rope(unet: Any) -> Rope:
    return Rope.of_axes(unet.params.axes_dim, unet.params.theta)


def flux_tokens(reference: tuple[int, int] | None = None, reference_index: float = 1.0) -> Any:
    """reference: height and width of the reference latent."""

    def tokens(unet: Any, latent: torch.Size, count: int) -> Tokens:
        axes, patch = len(unet.params.axes_dim), unet.patch_size
        height, width = (halved(side, patch) for side in latent[-2:])
        rest = [0.0] * (axes - 3)
        parts = [grid(0.0, range(height), range(width), *rest)]
        if reference is not None:
            sides = [range(halved(side, patch)) for side in reference]
            parts.append(grid(reference_index, *sides, *rest))
        text = count - sum(map(len, parts))
        positions = torch.cat([line(text, axes, unet.params.txt_ids_dims), *parts])
        return Tokens(slice(text, text + height * width), width, positions)

    return tokens


def longcat_tokens(unet: Any, latent: torch.Size, count: int) -> Tokens:
    """The image begins at the text's length along both sides."""
    height, width = (halved(side) for side in latent[-2:])
    text = count - height * width
    image = grid(1.0, range(text, text + height), range(text, text + width))
    return Tokens(slice(text, count), width, torch.cat([line(text, 3, (1, 2)), image]))


def pooled(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return {"pooled_output": torch.randn(rows, 24, generator=generator), "guidance": 3.5}


def with_reference(channels: int, height: int, width: int) -> Any:
    """An edit model's reference latent, one for all rows."""

    def conditioned(rows: int, generator: torch.Generator) -> dict[str, Any]:
        latent = torch.randn(1, channels, height, width, generator=generator)
        return {**pooled(rows, generator), "reference_latents": [latent]}

    return conditioned


def with_redux_mask(rows: int, generator: torch.Generator) -> dict[str, Any]:
    """A style model's attention mask, as StyleModelApply writes it: text, then the image in its own size."""
    mask = torch.randn(1, 7 + 4 * 3, 7 + 4 * 3, generator=generator)
    return {**pooled(rows, generator), "attention_mask": mask, "attention_mask_img_shape": (4, 3)}


VARIANTS = [
    Variant("flux_dev", "Flux", FLUX, (16, 7, 10), 40, flux_layers, flux_tokens(), flux_rope, pooled),
    Variant(
        "flux_schnell", "FluxSchnell", {**FLUX, "guidance_embed": False}, (16, 6, 9), 40, flux_layers, flux_tokens(),
        flux_rope, pooled,
    ),
    Variant(
        "flux_fill", "FluxInpaint", {**FLUX, "in_channels": 96}, (16, 6, 8), 40, flux_layers, flux_tokens(), flux_rope,
        pooled,
    ),
    Variant(
        "flux_kontext", "Flux", FLUX, (16, 7, 10), 40, flux_layers, flux_tokens((8, 5)), flux_rope,
        with_reference(16, 8, 5),
    ),
    Variant("flux_redux_mask", "Flux", FLUX, (16, 7, 10), 40, flux_layers, flux_tokens(), flux_rope, with_redux_mask),
    Variant(
        "longcat", "LongCatImage", {**FLUX, "guidance_embed": False, "vec_in_dim": None, "txt_ids_dims": [1, 2]},
        (16, 7, 10), 40, flux_layers, longcat_tokens, flux_rope,
    ),
    Variant("flux2_dev", "Flux2", FLUX2, (128, 3, 5), 40, flux_layers, flux_tokens(), flux_rope, pooled),
    Variant(
        "flux2_klein", "Flux2", {**FLUX2, "guidance_embed": False}, (128, 3, 4), 40, flux_layers,
        flux_tokens((2, 5), 10.0), flux_rope, with_reference(128, 2, 5),
    ),
    Variant("chroma", "Chroma", CHROMA, (16, 7, 10), 40, flux_layers, flux_tokens(), flux_rope),
    Variant("chroma_radiance", "ChromaRadiance", RADIANCE, (3, 12, 20), 40, flux_layers, flux_tokens(), flux_rope),
]  # fmt: skip
