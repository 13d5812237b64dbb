"""The tiny models of the tests in host/, one of each family while the server runs, and what stands for a CLIP."""

from __future__ import annotations

import random
import sys
import zlib
from pathlib import Path
from typing import Any

import comfy.latent_formats
import comfy.model_management
import comfy.supported_models
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
REFUSED = {"svd": tiny_models.tiny_svd}
FLUX: dict[str, Any] = {
    "image_model": "flux", "in_channels": 4, "out_channels": 4, "patch_size": 2, "vec_in_dim": 1280,
    "context_in_dim": tiny_models.CONTEXT, "hidden_size": 64, "mlp_ratio": 2.0, "num_heads": 2, "depth": 1,
    "depth_single_blocks": 2, "axes_dim": [8, 12, 12], "theta": 10000, "qkv_bias": True, "guidance_embed": False,
    "txt_ids_dims": [],
}  # fmt: skip
SD3: dict[str, Any] = {
    "in_channels": 4, "patch_size": 2, "depth": 2, "input_size": None, "adm_in_channels": 1280, "num_patches": 256,
    "context_embedder_config": {
        "target": "torch.nn.Linear", "params": {"in_features": tiny_models.CONTEXT, "out_features": 128}
    },
    "pos_embed_max_size": 16, "pos_embed_scaling_factor": None,
}  # fmt: skip


class SmallFlux(comfy.supported_models.FluxSchnell):
    """A Flux on latents of four channels, as all latents of the random graphs have them."""

    latent_format = comfy.latent_formats.SD15


class SmallSD3(comfy.supported_models.SD3):
    """An SD 3 on latents of four channels."""

    latent_format = comfy.latent_formats.SD15


TRANSFORMERS = {"flux": (SmallFlux, FLUX), "sd3": (SmallSD3, SD3)}
FAMILIES = [*tiny_models.FAMILIES, *TRANSFORMERS, *REFUSED]


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
    if family in TRANSFORMERS:
        kind, settings = TRANSFORMERS[family]
        model = tiny_models.unfilled(kind(dict(settings)))
        tiny_models.randomise(model.model, 0)
        model.model.diffusion_model.final_layer.linear.weight.data *= OUTPUT_SCALE
        return model
    model = tiny_models.tiny_model(family, **ONE_LEVEL)
    model.model.diffusion_model.out[2].weight.data *= OUTPUT_SCALE
    return model


START, END = -1, -2


class TinyClip:
    """Cuts a text into its words, and encodes it as noise of its own; for every family's text width.

    tokens: of a piece; the longer a text, the more pieces. UNets' text encoders have pieces of 77, which Prompts
    repeats; of others' it makes lines.
    """

    def __init__(self, tokens: int = 8) -> None:
        self.tokens = tokens

    def tokenize(self, text: str) -> dict[str, list[list[tuple[int, float]]]]:
        count = self.tokens * (1 + len(text) // 40)
        words = [zlib.crc32(word.encode("utf-8", "replace")) for word in text.split()]
        framed = [START, *words][: count - 1]
        return {"l": [[(token, 1.0) for token in (*framed, *[END] * (count - len(framed)))]]}

    def encode_from_tokens_scheduled(self, tokens: dict[str, list[list[tuple[int, float]]]]) -> list[list[Any]]:
        [[*piece]] = tokens["l"]
        return tiny_models.conditioning(1, len(piece), seed=zlib.crc32(repr(piece).encode()))


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
