"""The model families that can share, one file each: where the tokens are, and how attention is reached."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from torch import Tensor

from ...layers import LayerKey, LayerSelection
from ...sharing import SharingSettings
from ..calls import Call, Options
from .unet import UNetFamily


class Family(Protocol):
    """What the wrappers have to know of a kind of model."""

    name: str
    """As users call its models."""

    def accepts(self, unet: Any) -> bool:
        """Whether the host's `diffusion_model` is of this family."""
        ...

    def selectable(self, unet: Any, settings: SharingSettings) -> Sequence[LayerKey]:
        """The layers that `blocks` may name."""
        ...

    def selection(self, chosen: LayerSelection) -> LayerSelection:
        """The layers to share where the user chose these; where none is named, those that the authors share."""
        ...

    def attached(self, unet: Any, x: Tensor, options: Options, call: Call) -> AbstractContextManager[None]:
        """A context in which the attention layers of a model call share.

        x: the call's latents; options: its own copy of the transformer options, which the family may change.
        """
        ...


FAMILIES: tuple[Family, ...] = (UNetFamily(),)


def of_unet(unet: Any) -> Family | None:
    """The family of the host's `diffusion_model`, compiled or not; None where no family knows it."""
    unet = getattr(unet, "_orig_mod", unet)
    return next((family for family in FAMILIES if family.accepts(unet)), None)


def of_model(model: Any) -> Family:
    """The family of the host's model patcher. Raises ValueError where no family knows it."""
    family = of_unet(model.get_model_object("diffusion_model"))
    if family is None:
        raise ValueError(
            f"Style Aligned cannot share attention in this model ({type(model.model).__name__}). It needs an image "
            f"model of one of these kinds: {'; '.join(each.name for each in FAMILIES)}."
        )
    return family
