"""How a checkpoint's sets are drawn where the user doesn't say: by the host's class of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Settings:
    """size: of each side, in pixels. The others are KSampler's."""

    size: int
    steps: int
    cfg: float
    sampler: str
    scheduler: str


_PAPER = ("ddim", "ddim_uniform")
_FLOW = ("euler", "simple")
BY_CLASS = {
    "Icons": Settings(32, 12, 3.0, "dpmpp_2m", "karras"),
    "FluxIcons": Settings(32, 20, 3.0, *_FLOW),
    "SD15": Settings(512, 50, 7.5, *_PAPER),
    "SD20": Settings(512, 50, 7.5, *_PAPER),
    "SDXLRefiner": Settings(1024, 50, 5.0, *_PAPER),
    "SDXL": Settings(1024, 50, 5.0, *_PAPER),
    "SD3": Settings(1024, 28, 4.5, "euler", "sgm_uniform"),
    "FluxSchnell": Settings(1024, 4, 1.0, *_FLOW),
    "Flux": Settings(1024, 20, 1.0, *_FLOW),
    "ZImage": Settings(1024, 8, 1.0, "res_multistep", "simple"),
    "QwenImage": Settings(1024, 20, 4.0, *_FLOW),
    "Krea2": Settings(1024, 8, 1.0, *_FLOW),
}
"""UNets: the paper's. Transformers: those of the templates; where they are usually distilled, without guidance."""
OTHERS = Settings(1024, 28, 4.0, *_FLOW)
V_PREDICTION_SIZE = 768  # Stable Diffusion 2 predicts v where it was made for this size


def default_settings(model: Any) -> Settings:
    """Those of the host's `model`, a ModelPatcher's. A class's own come before those of the class it is made from."""
    names = [each.__name__ for each in type(model.model_config).__mro__]
    found = next((BY_CLASS[name] for name in names if name in BY_CLASS), OTHERS)
    if "SD20" in names and model.model_type.name == "V_PREDICTION":
        return Settings(V_PREDICTION_SIZE, found.steps, found.cfg, found.sampler, found.scheduler)
    return found
