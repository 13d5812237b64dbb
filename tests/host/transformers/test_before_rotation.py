"""Aligning in the host's patch before rotation gives what aligning in attention does, which takes rotations back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from comfy.model_patcher import ModelPatcher
from oracles import relative_error
from runs import dense, run, shared_everywhere, variants
from style_aligned.shared_attention.host import families
from style_aligned.shared_attention.host.families import joint_attention
from style_aligned.shared_attention.rotary import Rotary
from torch import Tensor
from variant import Variant

pytestmark = pytest.mark.thorough

PATCHED = ("flux_dev", "flux2_dev", "chroma", "longcat", "hunyuan_image", "qwen_image", "mage_flow", "krea2")


def patched(model: ModelPatcher, patch: Any) -> ModelPatcher:
    """With another node's patch."""
    clone = model.clone()
    clone.set_model_attn1_patch(patch)
    return clone


def in_attention(monkeypatch: pytest.MonkeyPatch, model: ModelPatcher) -> None:
    """From here on, layers are aligned in attention."""
    monkeypatch.setattr(type(families.find(model.model.diffusion_model)), "is_patched_before_rotation", False)


@pytest.mark.parametrize("variant", variants(*PATCHED), indirect=True)
def test_nothing_is_taken_back(variant: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    def inverse(_: Rotary) -> Rotary:
        raise AssertionError("a rotation was taken back")

    monkeypatch.setattr(Rotary, "inverse", inverse)
    shared = shared_everywhere(variant.model())
    actual = run(shared, variant)
    assert relative_error(actual, dense(variant)) < 1e-5
    in_attention(monkeypatch, shared)
    with pytest.raises(AssertionError, match="taken back"):
        run(shared, variant)


@pytest.mark.parametrize("settings", [{"adain_values": True}, {"adain_queries": False, "adain_keys": False}], ids=str)
@pytest.mark.parametrize("variant", variants("flux_dev", "krea2"), indirect=True)
def test_any_of_them_may_be_aligned_or_not(variant: Variant, settings: dict[str, Any]) -> None:
    assert (
        relative_error(run(shared_everywhere(variant.model(), **settings), variant), dense(variant, **settings)) < 1e-5
    )


@pytest.mark.parametrize("variant", variants("flux_dev", "qwen_image", "krea2"), indirect=True)
def test_other_nodes_patches_come_first(variant: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    def patch(q: Tensor, k: Tensor, v: Tensor, **_: Any) -> dict[str, Tensor]:
        return {"q": 1.5 * q + 0.1, "k": k.flip(-1), "v": v}

    other = patched(variant.model(), patch)
    before = run(shared_everywhere(other), variant)
    assert torch.equal(before[:1], run(other, variant)[:1])
    assert relative_error(before, run(shared_everywhere(variant.model()), variant)) > 1e-3
    in_attention(monkeypatch, other)
    assert relative_error(before, run(shared_everywhere(other), variant)) < 1e-5


@pytest.mark.parametrize("variant", variants("flux_dev", "krea2"), indirect=True)
def test_what_another_node_has_rotated_is_taken_back(variant: Variant) -> None:
    def patch(q: Tensor, k: Tensor, v: Tensor, pe: Tensor, **_: Any) -> dict[str, Any]:
        return {"q": Rotary(pe)(q), "k": Rotary(pe)(k), "v": v, "pe": None}

    actual = run(shared_everywhere(patched(variant.model(), patch)), variant)
    assert relative_error(actual, dense(variant)) < 1e-5


@pytest.mark.parametrize("variant", variants("flux_dev"), indirect=True)
def test_an_error_between_patch_and_attention_leaves_the_next_run_alone(variant: Variant) -> None:
    model, fails = variant.model(), [True]

    def attention(function: Any, *args: Any, **kwargs: Any) -> Tensor:
        if fails:
            fails.pop()
            raise RuntimeError("out of memory")
        return function(*args, **kwargs)

    model.model_options["transformer_options"]["optimized_attention_override"] = attention
    with pytest.raises(RuntimeError, match="out of memory"):
        run(shared_everywhere(model), variant)
    assert relative_error(run(shared_everywhere(model), variant), dense(variant)) < 1e-5
    assert joint_attention.PATCH not in model.model_options["transformer_options"].get("patches", {})


@pytest.mark.parametrize("variant", variants("flux_dev"), indirect=True)
def test_compiled_blocks_are_aligned_in_attention(variant: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    """A patch would break a block's graph off where its parts are small."""

    def patch(*_: Any, **__: Any) -> dict[str, Tensor]:
        raise AssertionError("aligned before rotation")

    monkeypatch.setattr(joint_attention, "align_before_rotation", patch)
    model = variant.model()
    with pytest.raises(AssertionError, match="before rotation"):
        run(shared_everywhere(model), variant)
    blocks = model.model.diffusion_model.single_blocks
    blocks[0] = torch.compile(blocks[0], backend="eager")
    assert relative_error(run(shared_everywhere(model), variant), dense(variant)) < 1e-5


@pytest.mark.parametrize("variant", variants("flux_dev", "qwen_image", "krea2"), indirect=True)
def test_half_precision_is_as_exact(variant: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = dense(variant)
    shared = shared_everywhere(variant.model(torch.bfloat16))
    before = relative_error(run(shared, variant), exact)
    in_attention(monkeypatch, shared)
    assert before < 1.2 * relative_error(run(shared, variant), exact)
