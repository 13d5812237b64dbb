"""A checkpoint that asks for an attention of its own in some layers, as hosts newer than 0.33 let it."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from comfy.ldm.modules import attention as host
from torch import Tensor, nn


class Asked(nn.Module):
    """In the place of the host's ComfyAttention. It asks for an attention that would drop a mask without a word."""

    def __init__(self) -> None:
        super().__init__()
        self.masks: list[Tensor | None] = []
        """What it was given, a mask or none for each call."""

    def function(self, q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Any = None, **further: Any) -> Tensor:
        self.masks.append(mask)
        return host.attention_pytorch(q, k, v, heads, **further)


def ask(monkeypatch: pytest.MonkeyPatch, module: nn.Module) -> Asked:
    """Let the checkpoint ask something of the attention in `module`."""
    asked = Asked()
    monkeypatch.setattr(module, "comfy_attention", asked, raising=False)
    return asked


def know_preferences(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an older host's attention follow `preferred_attention`, as that of newer ones does."""
    if hasattr(host, "ComfyAttention"):
        return
    plain = host.optimized_attention

    @functools.wraps(plain)
    def attention(*args: Any, preferred_attention: Any = None, **further: Any) -> Tensor:
        return (preferred_attention.function if preferred_attention else plain)(*args, **further)

    monkeypatch.setattr(host, "optimized_attention", attention)
