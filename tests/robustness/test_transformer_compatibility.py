"""Share Attention beside the host's model patches on transformers: docs/compatibility-transformers.md is measured.

After an intended change: MEASURE_COMPATIBILITY=1 UPDATE_SNAPSHOTS=1 python dev.py test, and this file's path.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import comfy.sd
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from host_patches import BATCH_OF_FOUR, MANY_STEPS, HostPatch, node, windows
from oracles import relative_error
from test_chaining import compiled
from torch import Tensor
from verdicts import EQUATIONS, MATTERS, NO_BATCH, REFERENCE_EXACT, ROUNDING, SEVERAL, Broken

sys.path.insert(0, str(Path(__file__).parents[1] / "host" / "transformers"))

from joint_oracle import JointOracle, Sharing
from registry import SUPPORTED
from runs import run, shared_everywhere
from style_aligned.shared_attention.conditioning import batch_conditionings
from variant import Variant

PAGE = Path(__file__).resolve().parents[2] / "docs" / "compatibility-transformers.md"
UPDATE = bool(os.environ.get("UPDATE_SNAPSHOTS"))
SLOW = pytest.mark.skipif(not os.environ.get("MEASURE_COMPATIBILITY"), reason="slow: set MEASURE_COMPATIBILITY=1")
COLUMNS = {"flux_dev": "Flux.1", "qwen_image": "Qwen-Image", "z_image": "Z-Image", "sd35_medium": "SD 3.5"}
MEASURED: dict[str, dict[str, str]] = {}

pytestmark = pytest.mark.usefixtures("_no_gradients")


class NoControlNet(Exception):
    """There is no ControlNet of this kind for the model."""


def with_lora(model: ModelPatcher) -> ModelPatcher:
    """A LoRA on every projection of queries, keys and values."""
    generator, state = torch.Generator().manual_seed(5), {}
    for name, weight in model.model.diffusion_model.named_parameters():
        if weight.ndim == 2 and name.endswith(("qkv.weight", "to_q.weight", "to_k.weight")):
            key = "diffusion_model." + name.removesuffix(".weight")
            state[f"{key}.lora_A.weight"] = torch.randn(4, weight.shape[1], generator=generator) / 8
            state[f"{key}.lora_B.weight"] = torch.randn(weight.shape[0], 4, generator=generator) / 8
    assert state
    return comfy.sd.load_lora_for_models(model, None, state, 1.0, 0.0)[0]


def with_residuals(model: ModelPatcher) -> ModelPatcher:
    """What a ControlNet adds to the blocks, by the options in which it reaches the model."""

    def control(apply_model: Any, arguments: dict[str, Any]) -> Tensor:
        from comfy.ldm.flux.model import Flux

        if not isinstance(model.model.diffusion_model, Flux):
            raise NoControlNet
        x = arguments["input"]
        tokens = -(-x.shape[-2] // 2) * -(-x.shape[-1] // 2)
        hint = torch.randn(1, tokens, 1, generator=torch.Generator().manual_seed(4)).to(x)
        width = model.model.diffusion_model.hidden_size
        residual = (0.3 * hint).expand(len(x), tokens, width)
        return apply_model(
            x, arguments["timestep"], **{**arguments["c"], "control": {"input": [residual], "output": [residual]}}
        )

    clone = model.clone()
    clone.set_model_unet_function_wrapper(control)
    return clone


PATCHES = [
    HostPatch("LoRA", with_lora),
    HostPatch("ControlNet's residuals", with_residuals),
    HostPatch("RoPE scaling (ScaleROPE)", node("nodes_rope", "ScaleROPE", 0.5, 0.0, 0.5, 0.0, 1.0, 0.0)),
    HostPatch("Skip-layer guidance (DiT)", node("nodes_slg", "SkipLayerGuidanceDiT", 3.0, 0.0, 1.0, "0", "0")),
    HostPatch("Normalized attention guidance (NAG)", node("nodes_nag", "NAGuidance", 5.0, 0.5, 1.5)),
    HostPatch("CFG-Zero*", node("nodes_cfg", "CFGZeroStar")),
    HostPatch("EasyCache", node("nodes_easycache", "EasyCacheNode", 3.0, 0.1, 0.95, False), settings=MANY_STEPS),
    HostPatch("LazyCache", node("nodes_easycache", "LazyCacheNode", 3.0, 0.1, 0.95, False), settings=MANY_STEPS),
    HostPatch("Context windows over the batch", windows(0, 2), settings=BATCH_OF_FOUR),
    HostPatch("Torch compile", compiled, is_slow=True),
]


def drawn(patch: HostPatch, model: ModelPatcher, variant: Variant, **options: Any) -> Tensor:
    settings = {name: value for name, value in patch.settings.items() if name != "steps"}
    return run(model, variant, **settings, **options)


def word(patch: HostPatch, variant: Variant) -> str:
    """The strongest property that holds in every order of the nodes."""
    model, apply = variant.model(), patch.patch
    try:
        plain = drawn(patch, apply(model), variant)
    except (IndexError, RuntimeError):
        return NO_BATCH
    before, after = (
        drawn(patch, apply(shared_everywhere(model)), variant),
        drawn(patch, shared_everywhere(apply(model)), variant),
    )
    off = drawn(patch, shared_everywhere(apply(model), end_percent=0.0), variant)
    require(bool(before.isfinite().all()), "the pictures are not finite")
    require(relative_error(before, after) <= SEVERAL, "the order of the nodes matters")
    require(relative_error(off, plain) <= ROUNDING, "with sharing off the pictures are not the patch's own")
    require(relative_error(before[1:], plain[1:]) > MATTERS, "sharing does nothing")
    require(relative_error(before[0], plain[0]) <= ROUNDING, "the reference is not the patch's own")
    require_lines(patch, variant, model)
    try:
        expected = drawn(patch, apply(JointOracle(variant, Sharing()).patcher), variant)
    except (
        RuntimeError,
        AssertionError,
        TypeError,
        AttributeError,
    ):  # no patch of a float64 model with an oracle in it
        return REFERENCE_EXACT
    return EQUATIONS if relative_error(before, expected) <= SEVERAL else REFERENCE_EXACT


def require_lines(patch: HostPatch, variant: Variant, model: ModelPatcher) -> None:
    """Lines of unlike length are with the patch what they are in batches of one with it."""
    if patch.settings:
        return
    lines = [variant.conditioning(1, seed=10 + row, text=5 + 2 * row) for row in range(2)]
    off = shared_everywhere(patch.patch(model), end_percent=0.0)
    together = run(off, variant, 2, positive=batch_conditionings(lines, tokens_repeat=False))
    for row, line in enumerate(lines):
        alone = run(patch.patch(model), variant, 1, positive=line, initial=variant.noise(2)[row : row + 1])
        require(relative_error(together[row], alone[0]) <= ROUNDING, f"line {row + 1} is not what it is alone")


def require(condition: bool, broken: str) -> None:
    if not condition:
        raise Broken(broken)


def measured(patch: HostPatch) -> dict[str, str]:
    words = {}
    for name in COLUMNS:
        try:
            words[name] = word(patch, SUPPORTED[name])
        except NoControlNet:
            words[name] = "-"
    return words


@pytest.mark.parametrize(
    "patch", [pytest.param(each, id=each.name, marks=SLOW if each.is_slow else ()) for each in PATCHES]
)
def test_the_row_is_what_is_measured(patch: HostPatch):
    try:
        MEASURED[patch.name] = measured(patch)
    finally:
        torch._dynamo.reset()
    if not UPDATE:
        assert row(patch.name, MEASURED[patch.name]) in PAGE.read_text(encoding="utf-8")


def test_the_page_is_whole():
    if UPDATE:
        PAGE.write_text(page(), encoding="utf-8", newline="\n")
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"| {patch.name} |" in text for patch in PATCHES)


def row(name: str, words: dict[str, str]) -> str:
    return f"| {name} | {' | '.join(words[column] for column in COLUMNS)} |"


def page() -> str:
    head = ["|  | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    kept = PAGE.read_text(encoding="utf-8").splitlines() if PAGE.exists() else []
    rows = [
        row(patch.name, MEASURED[patch.name])
        if patch.name in MEASURED
        else next(line for line in kept if line.startswith(f"| {patch.name} |"))
        for patch in PATCHES
    ]
    return INTRODUCTION + "\n".join([*head, *rows]) + "\n" + MEANING


INTRODUCTION = """\
# Transformers beside other nodes

What Share Attention does together with ComfyUI's own model patches on transformers, measured on tiny models of random
weights with the nodes in either order. This page is written by the tests, and they fail when it is no longer true:

    MEASURE_COMPATIBILITY=1 UPDATE_SNAPSHOTS=1 python dev.py test tests/robustness/test_transformer_compatibility.py

"""

MEANING = """
- **equations**: the pictures agree with a float64 model that computes the equations densely and carries the same patch.
- **reference exact**: the patch brings attention of its own or changes what the equations are about; the reference is
  the patch's own picture to 1e-5, and the targets take on its style.
- **no batches**: ComfyUI itself fails with this patch where a batch has more than one picture.
- **-**: there is no such patch for the model.

In every cell the order of the two nodes makes no difference, with sharing out of its range the pictures are the patch's
own, all values are finite, and lines of unlike length are each what they are alone. Caches that skip steps rest where
lines of unlike length are drawn row by row: they compare a model call with the one before, which is another row's.
"""
