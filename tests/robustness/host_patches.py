"""The host's ways to patch a model, each as a user would set it, on a tiny model."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import comfy.controlnet
import comfy.hooks
import comfy.sd
import pytest
import torch
from comfy.cldm.cldm import ControlNet
from comfy.ldm.modules import attention as host
from comfy.model_patcher import ModelPatcher
from test_chaining import compiled, lora_of
from tiny_models import COMMON_UNET, CONTEXT, conditioning, randomise, tiny_model

SLOW = pytest.mark.skipif(not os.environ.get("MEASURE_COMPATIBILITY"), reason="slow: set MEASURE_COMPATIBILITY=1")
Conditioning = list[list[Any]]
Patch = Callable[[ModelPatcher], ModelPatcher]


@dataclass(frozen=True)
class HostPatch:
    """What a user may put beside the pack's nodes.

    name: its row in the table. patch: makes the patched clone. condition: changes the positive conditioning instead.
    size, settings: of the run in which it does something. is_slow: takes minutes to measure. every_day: measured in
    every run of the tests, as an example of those that act in the same way.
    """

    name: str
    patch: Patch = lambda model: model.clone()
    condition: Callable[[Conditioning], Conditioning] = lambda positive: positive
    size: tuple[int, int] = (8, 8)
    settings: dict[str, Any] = field(default_factory=dict)
    is_slow: bool = False
    every_day: bool = False


def node(module: str, name: str, *arguments: Any, method: str = "execute") -> Patch:
    """The output of a node of `comfy_extras`, given the model first."""

    def patch(model: ModelPatcher) -> ModelPatcher:
        kind = getattr(importlib.import_module(f"comfy_extras.{module}"), name)
        output = (
            getattr(kind, method)(model, *arguments)
            if method == "execute"
            else getattr(kind(), method)(model, *arguments)
        )
        return getattr(output, "result", output)[0]

    return patch


def with_lora(model: ModelPatcher) -> ModelPatcher:
    return comfy.sd.load_lora_for_models(model, None, lora_of(model), 1.0, 0.0)[0]


def with_bypass_lora(model: ModelPatcher) -> ModelPatcher:
    state = {name: weight for name, weight in lora_of(model).items() if "lora_" in name}
    return comfy.sd.load_bypass_lora_for_models(model, None, state, 1.0, 0.0)[0]


def with_hooked_lora(positive: Conditioning) -> Conditioning:
    """A LoRA in the positive prompt only: the host samples it in a call of its own."""
    hooks = comfy.hooks.create_hook_lora(lora_of(tiny_model("sd15")), 1.0, 0.0)
    return comfy.hooks.set_hooks_for_conditioning(positive, hooks)


def merged(model: ModelPatcher) -> ModelPatcher:
    """ModelMergeSimple with a model of other weights."""
    other = tiny_model("sd15", seed=1)
    clone = model.clone()
    clone.add_patches(other.get_key_patches("diffusion_model."), 0.5, 0.5)  # at once: the node's one by one is slow
    return clone


def image_prompt_adapter(model: ModelPatcher) -> ModelPatcher:
    """As the IP-Adapter packs do: cross-attention to further tokens is added to that to the prompt's."""
    generator = torch.Generator().manual_seed(4)
    tokens = torch.randn(1, 4, CONTEXT, generator=generator)
    clone = model.clone()

    def replacement(query: Any, key: Any, value: Any, options: dict[str, Any]) -> Any:
        heads = options["n_heads"]
        own = host.optimized_attention(query, key, value, heads, transformer_options=options)
        weights = torch.Generator().manual_seed(query.shape[-1])
        width = query.shape[-1]
        to_key, to_value = torch.randn(2, CONTEXT, width, generator=weights).to(query.dtype) / CONTEXT**0.5
        further = tokens.to(query.dtype).expand(len(query), -1, -1)
        return own + 0.5 * host.optimized_attention(query, further @ to_key, further @ to_value, heads)

    for block in (("input", 1), ("input", 3), ("middle", 0), ("output", 1)):
        clone.set_model_attn2_replace(replacement, *block)
    return clone


def with_control(positive: Conditioning) -> Conditioning:
    """A ControlNet of the UNet's shape, with a hint for every row."""
    settings = {**COMMON_UNET, "num_heads": 8, "num_head_channels": -1, "transformer_depth_output": None}
    settings = {name: value for name, value in settings.items() if name not in ("out_channels", "adm_in_channels")}
    network = ControlNet(**settings, hint_channels=3, dtype=torch.float32)
    network.dtype = torch.float32
    randomise(network, 6)
    control = comfy.controlnet.ControlNet(network, load_device=torch.device("cpu"))
    hint = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(8))
    return [
        [embeddings, {**options, "control": control.copy().set_cond_hint(hint, 0.7), "control_apply_to_uncond": True}]
        for embeddings, options in positive
    ]


def windows(dimension: int, length: int) -> Patch:
    arguments = (length, 1 if dimension else 0, "standard_static", 1, False, "pyramid", dimension, False)
    return node("nodes_context_windows", "ContextWindowsManualNode", *arguments)


BATCH_OF_FOUR: dict[str, Any] = {"images": 4}
MANY_STEPS: dict[str, Any] = {"steps": 8}
DEEP_SHRINK = ("nodes_model_downscale", "PatchModelAddDownscale", 2, 2.0, 0.0, 1.0, True, "bicubic", "bilinear")
V_PREDICTION = ("nodes_model_advanced", "ModelSamplingDiscrete", "v_prediction", False)

PATCHES = [
    HostPatch("LoRA", with_lora, every_day=True),
    HostPatch("LoRA, bypass", with_bypass_lora),
    HostPatch("LoRA as a hook of the prompt", condition=with_hooked_lora),
    HostPatch("Model merge", merged),
    HostPatch("Self-attention multiply", node("nodes_attention_multiply", "UNetSelfAttentionMultiply", 1.1, 0.9, 1, 1)),
    HostPatch("FreeU", node("nodes_freelunch", "FreeU", 1.1, 1.2, 0.9, 0.2)),
    HostPatch("FreeU V2", node("nodes_freelunch", "FreeU_V2", 1.3, 1.4, 0.9, 0.2)),
    HostPatch("HyperTile", node("nodes_hypertile", "HyperTile", 32, 1, 0, False), size=(16, 16)),
    HostPatch("Token merging (ToMe)", node("nodes_tomesd", "TomePatchModel", 0.5), size=(16, 16)),
    HostPatch("Kohya Deep Shrink", node(*DEEP_SHRINK), size=(16, 16)),
    HostPatch("Perturbed-attention guidance (PAG)", node("nodes_pag", "PerturbedAttentionGuidance", 3.0)),
    HostPatch("Self-attention guidance (SAG)", node("nodes_sag", "SelfAttentionGuidance", 0.5, 2.0), size=(16, 16)),
    HostPatch("Perp-Neg", node("nodes_perpneg", "PerpNeg", conditioning(1, seed=9), 1.0)),
    HostPatch("Rescale CFG", node("nodes_model_advanced", "RescaleCFG", 0.7, method="patch")),
    HostPatch("Normalized attention guidance (NAG)", node("nodes_nag", "NAGuidance", 5.0, 0.5, 1.5)),
    HostPatch("Adaptive projected guidance (APG)", node("nodes_apg", "APG", 0.5, 5.0, -0.5)),
    HostPatch("CFG-Zero*", node("nodes_cfg", "CFGZeroStar")),
    HostPatch("CFG norm", node("nodes_cfg", "CFGNorm", 1.0)),
    HostPatch("Tangential damping CFG (TCFG)", node("nodes_tcfg", "TCFG")),
    HostPatch("Mahiro", node("nodes_mahiro", "Mahiro")),
    HostPatch("FreSca", node("nodes_fresca", "FreSca", 1.0, 1.25, 2)),
    HostPatch("Epsilon scaling", node("nodes_eps", "EpsilonScaling", 1.05)),
    HostPatch("Temporal score rescaling", node("nodes_eps", "TemporalScoreRescaling", 0.95, 1.0)),
    HostPatch("Skip-layer guidance", node("nodes_slg", "SkipLayerGuidanceDiT", 3.0, 0.0, 1.0, "0", "0")),
    HostPatch("CFG override", node("nodes_custom_sampler", "CFGOverride", 2.0, 0.0, 0.5)),
    HostPatch("Context windows over the batch", windows(0, 2), settings=BATCH_OF_FOUR, every_day=True),
    HostPatch("Context windows over the width", windows(3, 6), size=(8, 12)),
    HostPatch("ControlNet", condition=with_control, every_day=True),
    HostPatch("IP-Adapter (attn2 replacement)", image_prompt_adapter),
    HostPatch("EasyCache", node("nodes_easycache", "EasyCacheNode", 3.0, 0.1, 0.95, False), settings=MANY_STEPS),
    HostPatch("LazyCache", node("nodes_easycache", "LazyCacheNode", 3.0, 0.1, 0.95, False), settings=MANY_STEPS),
    HostPatch("v-prediction (ModelSamplingDiscrete)", node(*V_PREDICTION, method="patch")),
    HostPatch("Torch compile", compiled, is_slow=True),
]  # fmt: skip
"""In the order of the table."""


def parameters(patches: list[HostPatch]) -> list[Any]:
    """The rows to measure: examples every day, the others in detail, and the slow ones on demand."""
    marks = [SLOW if patch.is_slow else () if patch.every_day else pytest.mark.thorough for patch in patches]
    return [pytest.param(patch, id=patch.name, marks=mark) for patch, mark in zip(patches, marks, strict=True)]
