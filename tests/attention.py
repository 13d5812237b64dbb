"""Attention as models call it."""

from __future__ import annotations

import torch
from torch import Tensor


class SoftmaxAttention:
    """As the host calls it: heads side by side in the channels, an additive mask.

    Without `takes_bias` it ignores a mask, as some kernels do.
    """

    def __init__(self, heads: int, takes_bias: bool = True) -> None:
        self.heads, self.takes_bias = heads, takes_bias
        self.logits = 0

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
        self.logits += query.shape[0] * query.shape[1] * key.shape[1]
        bias = bias if self.takes_bias else None
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (query, key, value))
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return out.transpose(1, 2).flatten(2)
