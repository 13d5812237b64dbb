"""Which family a model is of: what the pack has to know about the model's layers."""

from __future__ import annotations

from typing import Any

from .flux import Chroma, Flux1, Flux2, LongCat
from .noting import uncompiled_module
from .transformer import Transformer

TRANSFORMERS: tuple[Transformer, ...] = (Flux1(), Flux2(), LongCat(), Chroma())


def find(unet: Any) -> Transformer:
    """The family of a model's network (its diffusion_model). Raises ValueError where there is none."""
    unet = uncompiled_module(unet)
    for family in TRANSFORMERS:
        if is_of_class(unet, family.classes) and family.accepts(unet):
            return family
    supported = ", ".join(family.name for family in TRANSFORMERS)
    raise ValueError(
        f"This model cannot share attention: its network is a {type(unet).__name__}, which this pack does not know. "
        f"Load a Stable Diffusion model (SD 1.x, SD 2.x, SDXL) or one of: {supported}."
    )


def is_of_class(unet: Any, names: tuple[str, ...]) -> bool:
    """Whether the class of `unet` has one of `names`: its own name, or that with the end of its module's path."""
    path = f".{type(unet).__module__}.{type(unet).__name__}"
    return any(path.endswith(f".{name}") for name in names)
