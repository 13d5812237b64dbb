"""The model families that can share, one file each: where the tokens are, and how attention is reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from torch import Tensor

from ...layers import LayerKey, LayerSelection
from ...sharing import SharingSettings
from ..calls import Call, Options
from .auraflow import AuraFlow
from .boogu import Boogu
from .cosmos import Anima, Cosmos
from .flux import Chroma, Flux1, Flux2, LongCat
from .hidream import HiDream
from .hunyuan_image import HunyuanImage
from .ideogram4 import Ideogram4
from .joyimage import JoyImage
from .kandinsky5 import Kandinsky5
from .krea2 import Krea2
from .lens import Lens
from .lumina import Lumina2, ZImage
from .noting import uncompiled_module
from .omnigen2 import OmniGen2
from .qwen_image import MageFlow, QwenImage
from .sd3 import SD3
from .transformer import Transformer
from .unet import UNetFamily


class Family(Protocol):
    """What the wrappers have to know of a kind of model."""

    name: str
    """As users call its models."""

    def knows(self, unet: Any) -> bool:
        """Whether the host's `diffusion_model` is of this family."""
        ...

    def selectable(self, unet: Any, settings: SharingSettings) -> Sequence[LayerKey]:
        """The layers that `blocks` may name."""
        ...

    def selection(self, chosen: LayerSelection) -> LayerSelection:
        """The layers to share where the user chose these; where none is named, those that the authors share."""
        ...

    def check_call(self, conditioning: Mapping[str, Any]) -> None:
        """Raises ValueError where a call's conditioning (by name, as the host hands it on) rules sharing out."""
        ...

    def bytes_kept(self, unet: Any, x: Sequence[int], chosen: LayerSelection, element: int) -> int:
        """About what a bank keeps of a reference: the keys and values of the layers chosen, for one conditioning.

        x: the shape of the reference's latent. element: bytes of a number.
        """
        ...

    def attached(self, unet: Any, x: Tensor, options: Options, call: Call) -> AbstractContextManager[None]:
        """A context in which the attention layers of a model call share.

        x: the call's latents; options: its own copy of the transformer options, which the family may change.
        """
        ...


TRANSFORMERS: tuple[Transformer, ...] = (
    Flux1(),
    Flux2(),
    LongCat(),
    Chroma(),
    QwenImage(),
    MageFlow(),
    Lumina2(),
    ZImage(),
    Krea2(),
    SD3(),
    HunyuanImage(),
    HiDream(),
    AuraFlow(),
    Cosmos(),
    Anima(),
    OmniGen2(),
    Boogu(),
    Kandinsky5(),
    Ideogram4(),
    Lens(),
    JoyImage(),
)

FAMILIES: tuple[Family, ...] = (UNetFamily(), *TRANSFORMERS)
"""The first one that knows a model is its family."""

REFUSED = {
    "UNetModel": "Stable Video Diffusion, or another UNet of videos",
    "HunyuanVideo": "HunyuanVideo or the refiner of HunyuanImage",
    "Kandinsky5": "Kandinsky 5 Video",
    "MiniTrainDIT": "Cosmos-Predict2 Video2World",
    "GeneralDIT": "Cosmos, a video model",
    "WanModel": "Wan, a video model",
    "LTXVModel": "LTX-Video",
    "LTXAVModel": "LTX-Video 2",
    "AsymmDiTJoint": "Mochi, a video model",
    "CogVideoXTransformer3DModel": "CogVideoX, a video model",
    "ErnieImageModel": "Ernie-Image, whose rotations cannot be undone",
    "PixArtMS": "PixArt, whose attention the host does not let others reach",
    "HunYuanDiT": "Hunyuan-DiT, whose attention the host does not let others reach",
    "HiDreamO1Transformer": "HiDream O1, a language model",
    "PixDiT_T2I": "PixelDiT",
    "StageB": "Stable Cascade",
    "StageC": "Stable Cascade",
    "MiniMaxH3Model": "MiniMax H3, a video model",
    "QwenImage21Transformer2DModel": "Qwen-Image 2.1, which is not built like Qwen-Image",
    "NextDiT": "Ming-Image",
}
"""What users call models of the host that no family accepts, by class."""


def find(unet: Any) -> Family:
    """The family of a model's network (its diffusion_model). Raises ValueError where there is none."""
    family = of_unet(unet)
    if family is None:
        supported = ", ".join(each.name for each in FAMILIES)
        raise ValueError(
            f"This model cannot share attention: it is {called(uncompiled_module(unet))}. Load one of: {supported}."
        )
    return family


def of_unet(unet: Any) -> Family | None:
    """The family of a model's network, compiled or not; None where no family knows it."""
    unet = uncompiled_module(unet)
    return next((family for family in FAMILIES if family.knows(unet)), None)


def called(unet: Any) -> str:
    """What users call a model that no family accepts, by the class it has or was derived from."""
    known = (REFUSED[base.__name__] for base in type(unet).__mro__ if base.__name__ in REFUSED)
    return next(known, f"of a kind that this pack does not know ({type(unet).__name__})")
