"""Random values: of the pack's settings, and of the host's nodes beside them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

Settings = dict[str, Any]

GUIDANCE = [1.0, 1.0, 0.0, 1.5, 4.0, 7.5]
"""Guidance scales; 1 leaves the negative prompt out."""


TRANSFORMERS = {
    "flux": ["", "", "all", "double", "single", "double.0, single.1", "single.0-99"],
    "sd3": ["", "", "all", "double", "double.1"],
}
"""The families that are transformers, and choices of their blocks."""
UNET_BLOCKS = ["", "", "", "all", "middle", "input", "output.0-1", "input.1, middle; output.0", "INPUT.1-8", " , "]
OF_UNETS = {
    "FreeU", "FreeU_V2", "HyperTile", "TomePatchModel", "PerturbedAttentionGuidance", "SelfAttentionGuidance",
    "PatchModelAddDownscale", "ModelSamplingDiscrete",
}  # fmt: skip
"""Patches of the host that transformers do not know, or that are for models that predict noise."""


def positions(rng: random.Random) -> Settings:
    """Legal settings of Positions."""
    frequencies = {name: rng.choice([1.0, 1.0, 0.0, 0.5, 4.0]) for name in ("high_frequencies", "low_frequencies")}
    return {"positions": rng.choice(["beside", "same", "none"]), **frequencies}


def protection(rng: random.Random) -> Settings:
    """Legal settings of Masks."""
    return {
        "protect_content": rng.choice([0.0, 0.0, 0.5, 1.0]),
        "subject": rng.choice(["", "", "cat", "(Dog:1.2), ox"]),
    }


def looking(rng: random.Random) -> Settings:
    """Legal settings of Attention Map."""
    place = {name: rng.choice([0.0, 0.5, 1.0, rng.random()]) for name in ("x", "y")}
    return {"look_up": rng.choice(["whole image", "point", "mask"]), **place, "blocks": "", **WHOLE}


WHOLE = {"start_percent": 0.0, "end_percent": 1.0}


def apart_settings(rng: random.Random) -> Settings:
    """Legal settings of Reference."""
    return {
        "weight": rng.choice([1.0, 1.0, 0.0, 0.25, 4.0, round(rng.uniform(0, 4), 2)]),
        "thin": rng.choice(["all", "all", "1/4", "1/9"]),
        "memory": rng.choice(["as computed", "as computed", "half precision", "half precision, on the CPU"]),
    }


def sharing_settings(rng: random.Random, family: str) -> Settings:
    """Legal settings of Share Attention for a model of `family`, the extremes often."""
    start, end = sorted([rng.choice([0.0, 0.0, 0.0, 0.3, 0.7]), rng.choice([1.0, 1.0, 1.0, 0.5, 0.2])])
    return {
        "scale": rng.choice([1.0, 1.0, 0.0, 0.5, 2.0, round(rng.uniform(0, 2), 2)]),
        "shift": rng.choice([0.0, 0.0, 0.69, -10.0, 10.0, round(rng.uniform(-10, 10), 2)]),
        "share_group_norm": rng.random() < 0.4 and family not in TRANSFORMERS,
        "adain_queries": rng.random() < 0.7,
        "adain_keys": rng.random() < 0.7,
        "adain_values": rng.random() < 0.3,
        "start_percent": start,
        "end_percent": end,
        "blocks": rng.choice(TRANSFORMERS.get(family, UNET_BLOCKS)),
        "strength": rng.choice([1.0, 1.0, 1.0, 0.0, 0.5, round(rng.uniform(0, 1), 2)]),
        "reference_without_control": rng.random() < 0.2,
    }


def _free_u(rng: random.Random) -> Settings:
    return {"b1": rng.uniform(0.5, 1.5), "b2": rng.uniform(0.5, 1.5), "s1": rng.uniform(0, 1), "s2": rng.uniform(0, 1)}


def _caching(rng: random.Random) -> Settings:
    return {"reuse_threshold": rng.choice([0.0, 0.2, 3.0]), "start_percent": 0.1, "end_percent": 0.95, "verbose": False}


def _windows(rng: random.Random) -> Settings:
    return {
        "context_length": rng.choice([2, 3, 6]),
        "context_overlap": rng.choice([0, 1]),
        "context_schedule": rng.choice(["standard_static", "standard_uniform", "batched"]),
        "context_stride": 1,
        "closed_loop": False,
        "fuse_method": rng.choice(["pyramid", "flat", "overlap-linear"]),
        "dim": 0,  # over height or width the host itself fails on batches
        "freenoise": rng.random() < 0.3,
        "causal_window_fix": rng.random() < 0.5,
        "cond_retain_index_list": "",
        "latent_retain_index_list": "",
        "split_conds_to_windows": False,
    }


def _deep_shrink(rng: random.Random) -> Settings:
    return {
        "block_number": rng.choice([1, 2, 3]),
        "downscale_factor": rng.choice([2.0, 1.5, 0.7]),
        "start_percent": 0.0,
        "end_percent": rng.choice([0.35, 1.0]),
        "downscale_after_skip": rng.random() < 0.5,
        "downscale_method": "bicubic",
        "upscale_method": "bilinear",
    }


HOST_PATCHES: dict[str, Callable[[random.Random], Settings]] = {
    "FreeU": _free_u,
    "FreeU_V2": _free_u,
    "HyperTile": lambda rng: {
        "tile_size": rng.choice([1, 32, 64]), "swap_size": rng.choice([1, 2]), "max_depth": rng.choice([0, 1]),
        "scale_depth": rng.random() < 0.5,
    },
    "TomePatchModel": lambda rng: {"ratio": rng.choice([0.0, 0.3, 0.5, 1.0])},
    "PerturbedAttentionGuidance": lambda rng: {"scale": rng.choice([0.0, 1.0, 3.0])},
    "SelfAttentionGuidance": lambda rng: {"scale": 0.5, "blur_sigma": rng.choice([0.5, 2.0])},
    "RescaleCFG": lambda rng: {"multiplier": rng.choice([0.0, 0.7, 1.0])},
    "PatchModelAddDownscale": _deep_shrink,
    "EasyCache": _caching,
    "LazyCache": _caching,
    "NAGuidance": lambda rng: {"nag_scale": 5.0, "nag_alpha": 0.5, "nag_tau": 1.5},
    "APG": lambda rng: {"eta": 1.0, "norm_threshold": 5.0, "momentum": rng.choice([0.0, -0.5])},
    "CFGZeroStar": lambda rng: {},
    "Mahiro": lambda rng: {},
    "ContextWindowsManual": _windows,
    "ModelSamplingDiscrete": lambda rng: {
        "sampling": rng.choice(["eps", "v_prediction", "lcm"]), "zsnr": rng.random() < 0.3
    },
}  # fmt: skip
"""The host's nodes that patch a model, by their id: legal settings of each."""
