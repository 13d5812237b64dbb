"""A miniature CLIP: both halves, with random weights, in the files that are published, as transformers computes it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import comfy.clip_vision
import comfy.sd
import pytest
import torch
import transformers
from safetensors.torch import save_file

WIDTH = 48  # of the space of pictures and texts
_OF_BOTH = {"num_attention_heads": 2, "hidden_act": "quick_gelu", "projection_dim": WIDTH, "layer_norm_eps": 1e-5}
# 24 layers are how the host tells ViT-L, whatever their width.
VISION = {**_OF_BOTH, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 24}
VISION |= {"image_size": 224, "patch_size": 14, "num_channels": 3, "model_type": "clip_vision_model"}
TEXT = {**_OF_BOTH, "hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 49408}
TEXT |= {"max_position_embeddings": 77, "eos_token_id": 49407, "bos_token_id": 49406, "pad_token_id": 49407}


def small_clip(seed: int = 0) -> transformers.CLIPModel:
    torch.manual_seed(seed)
    config = transformers.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=WIDTH)
    model = transformers.CLIPModel(config).eval().requires_grad_(False)
    for parameter in model.parameters():  # its own are so small that every picture is the same to it
        if parameter.ndim > 1:
            parameter.normal_(0, parameter[0].numel() ** -0.5)
        parameter.copy_(parameter.half())  # the host keeps them so
    return model


def save(model: transformers.CLIPModel, path: Path, *, vision: bool = True, text: bool = True) -> Path:
    """Both halves in one file, or one of them; without its projection a half is of no use for comparing."""
    halves = {"vision": vision, "visual": vision, "text": text}
    weights = {
        name: weight.contiguous()
        for name, weight in model.state_dict().items()
        if halves.get(name.split("_")[0], True) and "position_ids" not in name
    }
    save_file(weights, path)
    return path


def let_the_host_load_small_ones(patch: pytest.MonkeyPatch) -> None:
    """The host's loaders as they are, but for the sizes that they take from files of their own."""

    class SmallVision(comfy.clip_vision.ClipVisionModel):
        def __init__(self, config: Any) -> None:
            own = isinstance(config, str) and json.loads(Path(config).read_text(encoding="utf-8"))
            assert own is False or own["num_hidden_layers"] == VISION["num_hidden_layers"]
            super().__init__(config if own is False else VISION)

    sizes = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "projection_dim")
    options = {"model_config": {name: TEXT[name] for name in sizes}}
    patch.setattr(comfy.clip_vision, "ClipVisionModel", SmallVision)
    patch.setattr(comfy.sd, "load_clip", partial(comfy.sd.load_clip, model_options=options))
