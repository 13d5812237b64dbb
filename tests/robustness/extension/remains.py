"""What a server holds when it should hold nothing of past runs: on the models, of the pack's objects, in memory."""

from __future__ import annotations

import gc
import re
import sys
import zlib
from pathlib import Path
from typing import Any

import torch

from .models import MODELS

PACK = "shared_attention"
_RESIDENT = re.compile(r"^VmRSS:\s+(\d+) kB", re.MULTILINE)


def remains() -> dict[str, Any]:
    """As JSON: `models` by family, `objects` of the pack by class, `current` runs, `tensors`, `resident` bytes."""
    gc.collect()
    objects: dict[str, int] = {}
    tensors = 0
    for thing in gc.get_objects():
        kind = type(thing)
        tensors += issubclass(kind, torch.Tensor)
        if f".{PACK}." in f".{kind.__module__}.":
            objects[kind.__name__] = objects.get(kind.__name__, 0) + 1
    return {
        "models": {
            f"{family}'s {part}": checksum
            for family, patcher in MODELS.items()
            for part, checksum in fingerprint(patcher).items()
        },
        "objects": objects,
        "current": current_runs(),
        "tensors": tensors,
        "resident": resident(),
    }


def fingerprint(patcher: Any) -> dict[str, int]:
    """Checksums of all that sampling could leave on a model."""
    model = patcher.model
    # Not all of a module: the host notes there whether it has the model loaded, and how. And not all of the model: what
    # one of its own nodes put there for another clone stays until the next clone is loaded.
    overridden = {
        name: ("forward" in module.__dict__, len(module._forward_hooks), len(module._forward_pre_hooks))
        for name, module in model.named_modules()
    }
    weights = 0
    for _, weight in sorted(model.diffusion_model.state_dict().items()):
        weights = zlib.crc32(weight.contiguous().view(torch.uint8).numpy().data, weights)
    words = {
        "options": patcher.model_options,
        "wrappers": patcher.wrappers,
        "patches": (patcher.patches, patcher.object_patches),
        "modules": overridden,
    }
    return {"weights": weights, **{name: zlib.crc32(repr(value).encode()) for name, value in words.items()}}


def current_runs() -> dict[str, str]:
    """The pack's context variables that still say that a run is going on."""
    found = {}
    for name, module in list(sys.modules.items()):
        if f".{PACK}.host." in name:
            for variable in ("current_call", "current_layer", "current_preference"):
                current = getattr(module, variable, None)
                if current is not None and current.get() is not None:
                    found[f"{name}.{variable}"] = repr(current.get())
    return found


def resident() -> int:
    """Bytes of memory; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    match = _RESIDENT.search(status.read_text()) if status.exists() else None
    return int(match[1]) * 1024 if match else 0
