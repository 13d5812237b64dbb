"""CLIP-L, T5-XXL, Qwen2.5-VL 7B, Qwen3 4B and Qwen3-VL 4B with few channels, their whole vocabularies and tokenizers.

The host takes other sizes for each as options of its loader, under the names below.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.sd
import comfy.text_encoders.qwen_vl
import torch
from torch import nn

WIDTH = 16
"""Channels of all of them, and so of what they encode."""
KREA2_LAYERS = range(2, 36, 3)
"""Of Qwen3-VL 4B, whose outputs Krea 2 is conditioned with."""
DETECTED_WIDTH = 2560
"""By which the host tells Qwen3 4B and Qwen3-VL 4B from their larger and smaller kin."""
WIDTH_IS_READ_OFF = ("model.layers.0.post_attention_layernorm.weight", "model.visual.merger.linear_fc2.weight")
VISION = {"hidden_size": 64, "intermediate_size": 64}
"""The part of the two Qwen-VL that sees pictures, which no text needs."""

State = dict[str, torch.Tensor]


def _qwen(layers: int, heads: int) -> dict[str, int]:
    return {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
    }


def as_published(state: State) -> State:
    """Qwen3-VL's names of weights as in its published files."""
    prefixes = {"model.": "model.language_model.", "visual.": "model.visual."}
    return {
        prefixes[prefix] + name.removeprefix(prefix): weight
        for name, weight in state.items()
        for prefix in prefixes
        if name.startswith(prefix)
    }


@dataclass(frozen=True)
class Encoder:
    """module, class_: where the host has it. option: its name among the loader's options. sizes: what they set."""

    module: str
    class_: str
    option: str
    sizes: dict[str, int]
    published: Callable[[State], State] = dict

    @property
    def supported(self) -> bool:
        """Whether this host has it."""
        return importlib.util.find_spec(self.module) is not None

    def made(self) -> nn.Module:
        """The encoder, its weights not yet set."""
        options = {"model_name": self.option, f"{self.option}_model_config": self.sizes}
        return getattr(importlib.import_module(self.module), self.class_)(
            dtype=torch.float32, model_options=options
        ).transformer


CLIP_SIZES = {"hidden_size": WIDTH, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2}
T5_SIZES = {"d_model": WIDTH, "d_ff": 32, "d_kv": 8, "num_heads": 2, "num_layers": 2}

ENCODERS = {
    "clip_l.safetensors": Encoder("comfy.sd1_clip", "SDClipModel", "clip_l", CLIP_SIZES),
    "t5xxl_fp16.safetensors": Encoder("comfy.text_encoders.sd3_clip", "T5XXLModel", "t5xxl", T5_SIZES),
    "qwen_2.5_vl_7b_fp8_scaled.safetensors": Encoder(
        "comfy.text_encoders.qwen_image", "Qwen25_7BVLIModel", "qwen25_7b", _qwen(2, 4)
    ),
    "qwen_3_4b.safetensors": Encoder("comfy.text_encoders.z_image", "Qwen3_4BModel", "qwen3_4b", _qwen(3, 1)),
    "qwen3vl_4b_fp8_scaled.safetensors": Encoder(
        "comfy.text_encoders.krea2", "Krea2Qwen3VLClipModel", "qwen3vl_4b", _qwen(36, 1), as_published
    ),
}


def register() -> None:
    """Have the stock loaders take the small sizes."""
    comfy.sd.load_text_encoder_state_dicts = _with_sizes(comfy.sd.load_text_encoder_state_dicts)
    comfy.sd.detect_te_model = _of_any_width(comfy.sd.detect_te_model)
    vision = comfy.text_encoders.qwen_vl.Qwen2VLVisionTransformer
    comfy.text_encoders.qwen_vl.Qwen2VLVisionTransformer = lambda **options: vision(
        **{**options, **VISION, "num_layers": 1}
    )
    if importlib.util.find_spec("comfy.text_encoders.qwen3vl"):
        published = importlib.import_module("comfy.text_encoders.qwen3vl").QWEN3VL_VISION
        published["qwen3vl_4b"] = {**VISION, "depth": 1, "deepstack_visual_indexes": [0]}


def _with_sizes(load: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(load)
    def load_text_encoder_state_dicts(*arguments: Any, model_options: dict[str, Any], **named: Any) -> Any:
        sizes = {f"{encoder.option}_model_config": dict(encoder.sizes) for encoder in ENCODERS.values()}
        sizes["model_config"] = dict(CLIP_SIZES)  # where the host looks first for a CLIP's
        return load(*arguments, model_options={**model_options, **sizes}, **named)

    return load_text_encoder_state_dicts


def _of_any_width(detect: Callable[[State], Any]) -> Callable[[State], Any]:
    @functools.wraps(detect)
    def detect_te_model(state: State) -> Any:
        width = torch.empty(DETECTED_WIDTH)
        return detect({**state, **{name: width for name in WIDTH_IS_READ_OFF if name in state}})

    return detect_te_model
