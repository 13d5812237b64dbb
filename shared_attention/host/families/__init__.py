"""Which family a model is of: what the pack has to know about the model's layers."""

from __future__ import annotations

from typing import Any

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
"""The first one that accepts a model is its family."""

REFUSED = {
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
}
"""What users call models of the host that no family accepts, by class."""


def find(unet: Any) -> Transformer:
    """The family of a model's network (its diffusion_model). Raises ValueError where there is none."""
    unet = uncompiled_module(unet)
    for family in TRANSFORMERS:
        if is_of_class(unet, family.classes) and family.accepts(unet):
            return family
    supported = ", ".join(family.name for family in TRANSFORMERS)
    raise ValueError(
        f"This model cannot share attention: it is {called(unet)}. Load a Stable Diffusion model (SD 1.x, SD 2.x, "
        f"SDXL) or one of: {supported}."
    )


def is_of_class(unet: Any, names: tuple[str, ...]) -> bool:
    """Whether the class of `unet` has one of `names`: its own name, or that with the end of its module's path."""
    path = f".{type(unet).__module__}.{type(unet).__name__}"
    return any(path.endswith(f".{name}") for name in names)


def called(unet: Any) -> str:
    """What users call a model that no family accepts, by the class it has or was derived from."""
    known = (REFUSED[base.__name__] for base in type(unet).__mro__ if base.__name__ in REFUSED)
    return next(known, f"of a kind that this pack does not know ({type(unet).__name__})")
