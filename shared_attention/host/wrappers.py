"""The pack's wrappers on a clone of a model: attached under a key, at most once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, cast

from comfy.patcher_extension import WrappersMP
from torch import Tensor

from .calls import KEY as SHARE_ATTENTION

STEP_CACHES = ("easycache", "lazycache")
"""The keys of the host's EasyCache and LazyCache, which answer for the model where a step differs little."""

SamplingCallback = Callable[[int, Tensor, Tensor, int], None]
"""The host calls it after every step: (step, denoised, latent, steps)."""


def attach(model: Any, key: str, wrappers: Mapping[str, Callable[..., Any]], what: str) -> Any:
    """A clone of the host's `model` with `wrappers` (by the host's kind of wrapper) in the place of any under `key`."""
    clone = detach(model, key)
    if any(model.get_wrappers(kind, key) for kind in wrappers):
        logging.info("Style Aligned: this model has %s already; the later node's is used.", what)
    for kind, wrapper in wrappers.items():
        clone.add_wrapper_with_key(kind, key, wrapper)
    return clone


def says_if_unread(node: str) -> Callable[..., Tensor]:
    """An OUTER_SAMPLE wrapper that says so where nothing reads the settings of `node`."""

    def around_run(executor: Any, *args: Any, **kwargs: Any) -> Tensor:
        if not executor.class_obj.model_patcher.get_wrappers(WrappersMP.APPLY_MODEL, SHARE_ATTENTION):
            logging.info(
                "Style Aligned: %s does nothing, as attention is not shared. Add Style Aligned: Share Attention to the "
                "model, before or after it.",
                node,
            )
        return cast(Tensor, executor(*args, **kwargs))

    return around_run


def detach(model: Any, *keys: str) -> Any:
    """A clone of the host's `model` without the wrappers under `keys`."""
    clone = model.clone()
    for kind in clone.wrappers:
        for key in keys:
            clone.remove_wrappers_with_key(kind, key)
    return clone
