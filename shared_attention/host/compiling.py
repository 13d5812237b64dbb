"""Sharing in models that the host compiles with torch.compile.

The host compiles without guards on a call's options: what a graph reads from them is frozen at its first call, and a
graph made with other options is taken for this one. So the pack's functions stay out of graphs, and calls that share
have graphs of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar, cast

import torch
from comfy.patcher_extension import WrappersMP
from comfy_api.torch_helpers.torch_compile import COMPILE_KEY
from torch.overrides import TorchFunctionMode

F = TypeVar("F", bound=Callable[..., Any])


def uncompiled(function: F) -> F:
    """Keep `function` out of compiled graphs."""
    return cast(F, torch.compiler.disable(function))  # type: ignore[no-untyped-call]


def own_graphs(unet: Any, options: Mapping[str, Any]) -> AbstractContextManager[Any]:
    """A context for model calls that share: compiled models make graphs for it that no other call uses."""
    return _OwnGraphs() if is_compiled(unet, options) else nullcontext()


def is_compiled(unet: Any, options: Mapping[str, Any]) -> bool:
    """Whether the host or another node compiles the model of this call."""
    wrappers = options.get("wrappers", {}).get(WrappersMP.APPLY_MODEL, {})
    return COMPILE_KEY in wrappers or hasattr(unet, "_orig_mod")


class _OwnGraphs(TorchFunctionMode):
    """Does nothing, but torch.compile guards every graph by the function modes that are active."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return func(*args, **(kwargs or {}))
