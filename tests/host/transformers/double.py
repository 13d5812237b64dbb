"""Host models in float64: their kernels that rotate take no such numbers, so these compute in float32 between."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import comfy.ldm.flux.math
import comfy.quant_ops
import torch
from torch import Tensor

KERNELS = {comfy.quant_ops.ck: ("apply_rope", "rms_rope"), comfy.ldm.flux.math: ("q_apply_rope",)}
"""Where hosts look the kernels up, and how their names begin."""


def call_in_double(apply_model: Callable[..., Tensor], arguments: dict[str, Any]) -> Tensor:
    """A model function wrapper: the call, with kernels that take float64."""
    with double_kernels():
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])


@contextmanager
def double_kernels() -> Iterator[None]:
    with ExitStack() as stack:
        for module, beginnings in KERNELS.items():
            for name in dir(module):
                if name.startswith(beginnings):
                    stack.enter_context(patch.object(module, name, in_single(getattr(module, name))))
        yield


def in_single(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """`kernel` on float32 copies of float64 tensors, its results back in float64."""

    @functools.wraps(kernel)
    def called(*args: Any) -> Any:
        if not any(isinstance(arg, Tensor) and arg.dtype == torch.float64 for arg in args):
            return kernel(*args)
        out = kernel(*(arg.float() if isinstance(arg, Tensor) else arg for arg in args))
        return tuple(x.double() for x in out) if isinstance(out, tuple) else out.double()

    return called
