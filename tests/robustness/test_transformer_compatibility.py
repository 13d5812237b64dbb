"""Two nodes beside the host's model patches on transformers: docs/compatibility-transformers.md is measured.

After an intended change: MEASURE_COMPATIBILITY=1 UPDATE_SNAPSHOTS=1 python dev.py test, and this file's path.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import comfy.sd
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from host_patches import BATCH_OF_FOUR, MANY_STEPS, HostPatch, node, parameters, windows
from oracles import relative_error
from sampling import rows_of
from style_aligned.nodes.reference import StyleAlignedReference
from style_aligned.nodes.reference_latent import StyleAlignedReferenceLatent
from test_chaining import compiled
from torch import Tensor
from verdicts import (
    AS_IN_BATCH,
    EQUATIONS,
    MATTERS,
    NO_BATCH,
    REFERENCE_EXACT,
    ROUNDING,
    SEVERAL,
    STYLE_ONLY,
    Broken,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "host" / "transformers"))

from joint_oracle import JointOracle, Sharing
from registry import SUPPORTED
from runs import run, shared_everywhere
from style_aligned.shared_attention.conditioning import batch_conditionings
from variant import Variant

PAGE = Path(__file__).resolve().parents[2] / "docs" / "compatibility-transformers.md"
UPDATE = bool(os.environ.get("UPDATE_SNAPSHOTS"))
COLUMNS = {"flux_dev": "Flux.1", "qwen_image": "Qwen-Image", "z_image": "Z-Image", "sd35_medium": "SD 3.5"}
MEASURED: dict[str, dict[str, dict[str, str]]] = {}
"""By node and patch, the word for each model."""

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
    HostPatch("LoRA", with_lora, every_day=True),
    HostPatch("ControlNet's residuals", with_residuals),
    HostPatch("RoPE scaling (ScaleROPE)", node("nodes_rope", "ScaleROPE", 0.5, 0.0, 0.5, 0.0, 1.0, 0.0)),
    HostPatch("Skip-layer guidance (DiT)", node("nodes_slg", "SkipLayerGuidanceDiT", 3.0, 0.0, 1.0, "0", "0")),
    HostPatch("Normalized attention guidance (NAG)", node("nodes_nag", "NAGuidance", 5.0, 0.5, 1.5)),
    HostPatch("CFG-Zero*", node("nodes_cfg", "CFGZeroStar")),
    HostPatch("EasyCache", node("nodes_easycache", "EasyCacheNode", 3.0, 0.1, 0.95, False), settings=MANY_STEPS),
    HostPatch("LazyCache", node("nodes_easycache", "LazyCacheNode", 3.0, 0.1, 0.95, False), settings=MANY_STEPS),
    HostPatch("Context windows over the batch", windows(0, 2), settings=BATCH_OF_FOUR, every_day=True),
    HostPatch("Torch compile", compiled, is_slow=True),
]


def drawn(patch: HostPatch, model: ModelPatcher, variant: Variant, **options: Any) -> Tensor:
    return run(model, variant, **patch.settings, **options)


def share_attention(patch: HostPatch, variant: Variant) -> str:
    """The strongest property of Share Attention that holds in every order of the nodes."""
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
    require_lines(patch, variant, model)
    if agrees_with_equations(patch, variant, before):
        return EQUATIONS
    require(relative_error(before[0], plain[0]) <= ROUNDING, "the reference is not the patch's own")
    return REFERENCE_EXACT


def agrees_with_equations(patch: HostPatch, variant: Variant, found: Tensor) -> bool:
    no_patch_of_an_oracle = RuntimeError, AssertionError, TypeError, AttributeError
    try:
        expected = drawn(patch, patch.patch(JointOracle(variant, Sharing()).patcher), variant)
    except no_patch_of_an_oracle:
        return False
    return relative_error(found, expected) <= SEVERAL


def reference_apart(patch: HostPatch, variant: Variant) -> str:
    """The word for Reference, in every order with the patch's node and Share Attention.

    Its targets are compared with those of a batch that has the same picture and prompt in row 0, by Reference Latent.
    """
    model, apply = variant.model(), patch.patch
    settings = {"images": 3, **patch.settings}
    rows = settings.pop("images")
    texts, start, picture = variant.conditioning(rows, seed=1), variant.noise(rows), 0.5 * variant.noise(1, seed=99)

    def targets(patched: ModelPatcher) -> Tensor:
        return run(patched, variant, rows - 1, positive=rows_of(texts, slice(1, None)), initial=start[1:], **settings)

    def add(patched: ModelPatcher, weight: float = 1.0) -> ModelPatcher:
        given = {"conditioning": rows_of(texts, slice(0, 1)), "weight": weight}
        return StyleAlignedReference.execute(patched, {"samples": picture}, **given).result[0]

    plain = targets(apply(model))
    orders = [
        lambda plain: apply(add(shared_everywhere(plain))),
        lambda plain: add(shared_everywhere(apply(plain))),
        lambda plain: shared_everywhere(apply(add(plain))),
    ]
    found = [targets(build(model)) for build in orders]
    off = targets(add(shared_everywhere(apply(model), end_percent=0.0)))
    weightless = targets(add(shared_everywhere(apply(model)), weight=0.0))
    require(bool(found[0].isfinite().all()), "the pictures are not finite")
    for other in found[1:]:
        require(relative_error(found[0], other) <= SEVERAL, "the order of the nodes matters")
    require(torch.equal(off, plain), "with sharing off the pictures are not the patch's own")
    require(torch.equal(weightless, targets(shared_everywhere(apply(model)))), "a reference of weight 0 does something")
    require(relative_error(found[0], plain) > MATTERS, "sharing does nothing")
    try:
        held, latent = StyleAlignedReferenceLatent.execute(
            shared_everywhere(apply(model)), {"samples": picture}, rows - 1, "noise"
        ).result
        in_batch = run(held, variant, rows, positive=texts, initial=start, latent=latent["samples"], **settings)[1:]
    except (IndexError, RuntimeError):
        return STYLE_ONLY
    return AS_IN_BATCH if relative_error(found[0], in_batch) <= SEVERAL else STYLE_ONLY


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


NODES: dict[str, Callable[[HostPatch, Variant], str]] = {
    "Share Attention": share_attention,
    "Reference": reference_apart,
}


def measured(measure: Callable[[HostPatch, Variant], str], patch: HostPatch) -> dict[str, str]:
    words = {}
    for name in COLUMNS:
        try:
            words[name] = measure(patch, SUPPORTED[name])
        except NoControlNet:
            words[name] = "-"
    return words


@pytest.mark.parametrize("patch", parameters(PATCHES))
@pytest.mark.parametrize("node_name", NODES)
def test_the_row_is_what_is_measured(node_name: str, patch: HostPatch):
    try:
        words = measured(NODES[node_name], patch)
    finally:
        torch._dynamo.reset()
    MEASURED.setdefault(node_name, {})[patch.name] = words
    if not UPDATE:
        assert row(patch.name, words) in sections(PAGE.read_text(encoding="utf-8"))[node_name]


def test_the_page_is_whole():
    if UPDATE:
        PAGE.write_text(page(), encoding="utf-8", newline="\n")
    found = sections(PAGE.read_text(encoding="utf-8"))
    assert all(any(f"| {patch.name} |" in line for line in found[name]) for name in NODES for patch in PATCHES)


def sections(text: str) -> dict[str, list[str]]:
    """The lines below each node's heading."""
    parts = text.split("\n## ")[1:]
    return {title: body.splitlines() for title, _, body in (part.partition("\n") for part in parts)}


def row(name: str, words: dict[str, str]) -> str:
    return f"| {name} | {' | '.join(words[column] for column in COLUMNS)} |"


def page() -> str:
    kept = sections(PAGE.read_text(encoding="utf-8"))
    return INTRODUCTION + "\n".join(f"## {name}\n\n{table(name, kept)}\n{MEANING[name]}" for name in NODES)


def table(node_name: str, kept: dict[str, list[str]]) -> str:
    lines = ["|  | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    found = MEASURED.get(node_name, {})
    for patch in PATCHES:
        if patch.name in found:
            lines.append(row(patch.name, found[patch.name]))
        else:
            lines.append(next(line for line in kept[node_name] if line.startswith(f"| {patch.name} |")))
    return "\n".join(lines) + "\n"


INTRODUCTION = """\
# Transformers beside other nodes

What Share Attention and Reference do together with ComfyUI's own model patches on transformers, measured on tiny models
of random weights with the nodes in every order. This page is written by the tests, and they fail when it is no longer
true:

    MEASURE_COMPATIBILITY=1 UPDATE_SNAPSHOTS=1 python dev.py test tests/robustness/test_transformer_compatibility.py

"""

MEANING = {
    "Share Attention": """\
- **equations**: the pictures agree with a float64 model that computes the equations densely and carries the same patch.
- **reference exact**: the patch brings attention of its own, changes what the equations are about, or does nothing to
  that float64 model; the reference is the patch's own picture to 1e-5, and the targets take on its style.
- **no batches**: ComfyUI itself fails with this patch where a batch has more than one picture.
- **-**: there is no such patch for the model.

In every cell the order of the two nodes makes no difference, with sharing out of its range the pictures are the patch's
own, all values are finite, and lines of unlike length are each what they are alone. Caches that skip steps rest where
lines of unlike length are drawn row by row: they compare a model call with the one before, which is another row's.
""",
    "Reference": """\
- **as in the batch**: the targets are those of a batch that has the same picture and prompt in row 0 by Reference
  Latent, to 1e-4 after all steps.
- **its style**: the targets take on the style, and are not quite those of such a batch: the patch looks at the whole
  batch, and a reference apart has a model call of its own.

In every cell the order of the three nodes makes no difference, with sharing out of its range the pictures are the
patch's own to the bit, at `weight` 0 they are those without the node, and all values are finite.
""",
}
