"""Says, while a transformer runs, which of its layers it is in.

The attention of a transformer is one function for all of its layers, text refiners and cross-attentions too, and sees
queries and keys that are rotated already. What it cannot see, the modules around it are called with: so these note it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from torch import Tensor

from ...layers import LayerKey, LayerSelection
from ..backend import may_prefer, preference
from ..compiling import uncompiled

if TYPE_CHECKING:
    from .transformer import Image, Layer, Transformer

current_layer: ContextVar[Layer | None] = ContextVar("current_layer", default=None)
"""The layer whose module is running, in this thread's model call; None anywhere else in it."""

current_preference: ContextVar[Any] = ContextVar("current_preference", default=None)
"""What the checkpoint asks of the attention that is running, shared or not (see backend.preference).

The host does not tell an override of its attention."""

_attentions: WeakKeyDictionary[Any, list[str]] = WeakKeyDictionary()
"""By module the names of its parts that a checkpoint may ask something of: looking for them takes milliseconds."""

_MISSING = object()


@dataclass(frozen=True)
class _Call:
    """What is the same for all layers of a model call."""

    family: Transformer
    unet: Any
    image: Image
    layers: LayerSelection


_call: ContextVar[_Call | None] = ContextVar("call", default=None)


@contextmanager
def noting_layers(family: Transformer, unet: Any, x: Tensor, layers: LayerSelection) -> Iterator[None]:
    """For one model call on `x`, let the modules of `layers` set `current_layer` while they run.

    Modules whose attention the checkpoint asks something of are noted too, selected or not.

    The modules' `forward` is replaced on the instances and put back, also after an exception; where another node has
    put one on an instance, it is called, and it is what is put back. A model that torch.compile wraps may be given.
    """
    unet = uncompiled_module(unet)
    every = ((key, uncompiled_module(module)) for key, module in family.modules(unet))
    asked = ((key, module, _asked(module)) for key, module in every)
    modules = [(key, module, of_it) for key, module, of_it in asked if key in layers or of_it is not None]
    before = [module.__dict__.get("forward", _MISSING) for _, module, _ in modules]
    token = _call.set(_Call(family, unet, family.image(unet, x), layers))
    try:
        for key, module, of_it in modules:
            names = _parameters(type(module).forward)
            module.__dict__["forward"] = functools.partial(_noted, key, names, of_it, module.forward)
        yield
    finally:
        _call.reset(token)
        for (_, module, _), forward in zip(modules, before, strict=True):
            if forward is _MISSING:
                module.__dict__.pop("forward", None)
            else:
                module.__dict__["forward"] = forward


def uncompiled_module(module: Any) -> Any:
    """The module itself where torch.compile wraps it; looked up where modules keep their own, which is fast."""
    return module._modules.get("_orig_mod", module)


def _asked(module: Any) -> Any:
    """What the checkpoint asks of the attention in `module`; where it attends twice, of the first that it asks."""
    if module not in _attentions:
        _attentions[module] = [name for name, part in module.named_modules() if may_prefer(part)]
    each = (preference(module.get_submodule(name)) for name in _attentions[module])
    return next((asked for asked in each if asked is not None), None)


def _noted(
    key: LayerKey, names: tuple[str, ...], asked: Any, forward: Callable[..., Any], /, *args: Any, **kwargs: Any
) -> Any:
    """Call a module's own `forward` with its layer noted. All that differs between model calls is in `_call`, so that
    compiled graphs of a layer stay good for the next call."""
    _enter(key, names, asked, args, kwargs)
    try:
        return forward(*args, **kwargs)
    finally:
        _leave()


@uncompiled
def _enter(key: LayerKey, names: tuple[str, ...], asked: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    call = _call.get()
    if call is None:
        return
    current_preference.set(asked)
    if key in call.layers:
        arguments = {**dict(zip(names, args, strict=False)), **kwargs}
        current_layer.set(call.family.layer(call.unet, key, call.image, arguments))


@uncompiled
def _leave() -> None:
    current_layer.set(None)
    current_preference.set(None)


@functools.cache
def _parameters(forward: Callable[..., Any]) -> tuple[str, ...]:
    """The names of the parameters of a class's `forward`, without self."""
    return tuple(inspect.signature(forward).parameters)[1:]
