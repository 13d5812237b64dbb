"""How the host's attention lays out its tensors, and how the method does."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...rotary import Rotary
from ...rows import Rows

Pick = Callable[[Tensor], Tensor]
"""Some rows of a tensor (rows, ...), such as the references' or the targets' (chunks, images, ...)."""


def rotated(rotary: Rotary, x: Tensor) -> Tensor:
    """x: (chunks, images, heads, tokens, channels)."""
    return rotary(x.flatten(0, 1)).view(x.shape)


def for_heads(x: Tensor, heads: int) -> Tensor:
    """Keys or values of fewer heads than the attention has them, each for several."""
    return x if x.shape[2] == heads else x.repeat_interleave(heads // x.shape[2], 2)


def flat(role: Pick) -> Pick:
    """Rows of a role, (rows, ...), from the call's."""
    return lambda x: role(x).flatten(0, 1)


def of_rows(mask: Tensor | None, pick: Pick, rows: Rows) -> Tensor | None:
    """A mask of the call for some of its rows; one without rows, or with one for all, is as it is."""
    if mask is None or mask.ndim < 3 or mask.shape[0] != rows.count:
        return mask
    return pick(mask)


def additive(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """A mask in any of the host's forms as what is added to the logits: (rows or 1, heads or 1, queries or 1, keys)."""
    if mask is None:
        return None
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min / 2)
    mask = mask.to(dtype)
    return mask if mask.ndim == 4 else mask[:, None] if mask.ndim == 3 else mask[None, None]


def heads_apart(x: Tensor, channels: int) -> Tensor:
    """(rows, tokens, heads * channels), or (rows, tokens, heads, channels), as (rows, heads, tokens, channels)."""
    return x.reshape(*x.shape[:2], -1, channels).transpose(1, 2)
