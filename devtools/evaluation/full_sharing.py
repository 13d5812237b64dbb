"""The paper's ablation, full attention sharing: each image attends to all of the set, without AdaIN."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

UNET_BLOCKS = 12  # more than the icon model has of a kind


def full_sharing(model: Any, kind: str) -> Any:
    """The model, which is "unet" or "flux", with every image's keys and values in reach of every other."""
    model = model.clone()
    if kind == "flux":
        model.set_model_attn1_patch(_beside_own)
        return model
    for part, count in (("input", UNET_BLOCKS), ("middle", 1), ("output", UNET_BLOCKS)):
        for number in range(count):
            model.set_model_attn1_replace(_in_one, part, number)
    return model


def _in_one(query: Tensor, key: Tensor, value: Tensor, options: dict[str, Any]) -> Tensor:
    """A UNet's self-attention over the tokens of all images of one condition."""
    from comfy.ldm.modules.attention import optimized_attention

    rows = len(query) // len(options["cond_or_uncond"])  # of one condition
    key, value = (part.unflatten(0, (-1, rows)).flatten(1, 2).repeat_interleave(rows, 0) for part in (key, value))
    return optimized_attention(query, key, value, options["n_heads"], transformer_options=options)


def _beside_own(
    query: Tensor, key: Tensor, value: Tensor, pe: Tensor, extra_options: dict[str, Any], **_mask: Any
) -> dict[str, Tensor]:
    """A transformer's keys and values (rows, heads, tokens, channels), then those of the other images' own places."""
    rows, text = len(query) // len(extra_options["cond_or_uncond"]), extra_options["img_slice"][0]
    others = torch.tensor([[other for other in range(rows) if other != row] for row in range(rows)])

    def with_others(part: Tensor) -> Tensor:
        images = part[:, :, text:].unflatten(0, (-1, rows))[:, others]  # (conditions, rows, others, heads, tokens, ..)
        return torch.cat([part, images.movedim(2, 3).flatten(3, 4).flatten(0, 1)], 2)

    places = torch.cat([pe, *[pe[:, :, text:]] * (rows - 1)], 2)
    return {"k": with_others(key), "v": with_others(value), "pe": places}
