"""The tiny models of the tests in host/, one of each family while the server runs, and what stands for a CLIP."""

from __future__ import annotations

import random
import sys
import zlib
from pathlib import Path
from typing import Any

import comfy.model_management
import torch

TESTS = Path(__file__).resolve().parents[2]
sys.path.append(str(TESTS / "host"))

import tiny_models  # noqa: E402

# Left small beside the noise, as a trained model's: then adaptive samplers end, and high guidance stays finite.
OUTPUT_SCALE = 0.1
ONE_LEVEL: dict[str, Any] = {
    "channel_mult": [1],
    "num_res_blocks": [1],
    "transformer_depth": [1],
    "transformer_depth_output": [1, 1],
    "transformer_depth_middle": 1,
}
"""Fewer blocks still: thousands of runs."""
REFUSED = {"sd3": tiny_models.tiny_sd3, "svd": tiny_models.tiny_svd}
FAMILIES = [*tiny_models.FAMILIES, *REFUSED]


MODELS: dict[str, Any] = {}
"""The model patchers made so far, by family."""


def model_of(family: str) -> Any:
    """The model patcher of a family: the same object every time, as a loader's output is in the host's cache.

    What earlier graphs made of it is gone with them, and a loaded model without its patcher is a leak to the host, for
    which it would collect garbage before every model that it loads from now on.
    """
    loaded = comfy.model_management.current_loaded_models
    loaded[:] = [model for model in loaded if not model.is_dead()]
    if family not in MODELS:
        MODELS[family] = _made(family)
    return MODELS[family]


def _made(family: str) -> Any:
    if family in REFUSED:
        model = REFUSED[family]()
        tiny_models.randomise(model.model, 0)
        return model
    model = tiny_models.tiny_model(family, **ONE_LEVEL)
    model.model.diffusion_model.out[2].weight.data *= OUTPUT_SCALE
    return model


class TinyClip:
    """Encodes every text as noise of its own, the longer ones in more tokens; for every family's text width."""

    def tokenize(self, text: str) -> str:
        return text

    def encode_from_tokens_scheduled(self, text: str) -> list[list[Any]]:
        seed = zlib.crc32(text.encode("utf-8", "replace"))
        return tiny_models.conditioning(1, 8 * (1 + len(text) // 40), seed)


def latent_of(kind: str, images: int, height: int, width: int, seed: int) -> torch.Tensor:
    """Samples of a LATENT: "picture", or one that is wrong in the way that `kind` says."""
    generator = torch.Generator().manual_seed(seed)
    shape = {"16 channels": (images, 16, height, width), "video": (images, 4, 2, height, width)}.get(
        kind, (images, 4, height, width)
    )
    samples = 5 * torch.randn(shape, generator=generator)
    if kind == "zeros":
        samples.zero_()
    elif kind == "nan":
        samples.view(-1)[random.Random(seed).randrange(samples.numel())] = float("nan")
    return samples
