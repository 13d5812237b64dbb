"""OmniGen2 and Boogu: [text ; reference latents ; image], fewer heads of keys than queries; no refiner is shared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from positions import Rope, Tokens, grid, halved, line
from torch import nn
from variant import LayerKey, Variant, numbered

OMNIGEN2 = {
    "image_model": "omnigen2",
    "axes_dim_rope": [8, 8, 8],
    "axes_lens": [1024, 1664, 1664],
    "ffn_dim_multiplier": None,
    "hidden_size": 96,
    "in_channels": 16,
    "multiple_of": 32,
    "norm_eps": 1e-5,
    "num_attention_heads": 4,
    "num_kv_heads": 2,
    "num_layers": 3,
    "num_refiner_layers": 1,
    "out_channels": None,
    "patch_size": 2,
    "text_feat_dim": 40,
    "timestep_scale": 1000.0,
}
BOOGU = {
    **{name: value for name, value in OMNIGEN2.items() if name != "text_feat_dim"},
    "image_model": "boogu",
    "num_layers": 2,
    "num_double_stream_layers": 2,
    "instruction_feat_dim": 40,
}


def omnigen2_layers(unet: Any) -> Iterator[tuple[LayerKey, nn.Module]]:
    yield from numbered("single", unet.layers)


def boogu_layers(unet: Any) -> Iterator[tuple[LayerKey, nn.Module]]:
    yield from numbered("double", unet.double_stream_layers, "img_instruct_attn")
    yield from numbered("double", unet.double_stream_layers, "img_self_attn")
    yield from numbered("single", unet.single_stream_layers)


def omnigen2_tokens(text: int = 7, reference: tuple[int, int] | None = None) -> Any:
    """[text ; reference latents ; image], or the images alone; each image begins after what was before it.

    text: tokens of the prompts. reference: height and width of the reference latent.
    """

    def tokens(unet: Any, latent: torch.Size, count: int) -> Tokens:
        height, width = map(halved, latent[-2:])
        parts, at = [line(text, 3, (0, 1, 2))], text
        if reference is not None:
            sides = list(map(halved, reference))
            parts.append(grid(float(at), *map(range, sides)))
            at += max(sides)
        positions = torch.cat([*parts, grid(float(at), range(height), range(width))])
        return Tokens(slice(count - height * width, count), width, positions[-count:])

    return tokens


def omnigen2_rope(unet: Any) -> Rope:
    return Rope.of_axes(OMNIGEN2["axes_dim_rope"])


def masked(rows: int, generator: torch.Generator) -> dict[str, Any]:
    """The host counts the text's tokens over the mask, all rows of it together: one row is right."""
    return {"attention_mask": torch.ones(1, Variant.text, dtype=torch.int64)}


def with_reference(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return {**masked(rows, generator), "reference_latents": [torch.randn(1, 16, 5, 8, generator=generator)]}


VARIANTS = [
    Variant(
        "omnigen2", "Omnigen2", OMNIGEN2, (16, 7, 10), 40, omnigen2_layers, omnigen2_tokens(), omnigen2_rope, masked
    ),
    Variant(
        "omnigen2_edit", "Omnigen2", OMNIGEN2, (16, 6, 9), 40, omnigen2_layers, omnigen2_tokens(7, (5, 8)),
        omnigen2_rope, with_reference,
    ),
    Variant("boogu", "Boogu", BOOGU, (16, 7, 10), 40, boogu_layers, omnigen2_tokens(), omnigen2_rope, masked),
    Variant(
        "boogu_edit", "Boogu", BOOGU, (16, 6, 9), 40, boogu_layers, omnigen2_tokens(7, (5, 8)), omnigen2_rope,
        with_reference,
    ),
]  # fmt: skip
