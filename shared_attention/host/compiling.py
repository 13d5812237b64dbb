"""Typed access to torch.compile's opt-out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch

F = TypeVar("F", bound=Callable[..., Any])


def uncompiled(function: F) -> F:
    """Keep `function` out of compiled graphs.

    The host compiles without guards on a call's options, so what a graph reads from them is frozen at its first call.
    """
    return cast(F, torch.compiler.disable(function))  # type: ignore[no-untyped-call]
