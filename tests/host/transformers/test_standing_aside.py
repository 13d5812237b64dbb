"""Sharing in transformers that is off or over leaves no trace: the model is the host's, to the bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from comfy.model_patcher import ModelPatcher
from runs import run, shared_everywhere, variants
from variant import Variant


def changed_modules(model: ModelPatcher) -> list[str]:
    """Modules that have a forward of their own."""
    return [name for name, module in model.model.diffusion_model.named_modules() if "forward" in vars(module)]


@pytest.mark.parametrize("variant", variants(), indirect=True)
def test_off(variant: Variant) -> None:
    model = variant.model()
    plain = run(model, variant)

    assert torch.equal(run(shared_everywhere(model, end_percent=0.0), variant), plain)
    assert torch.equal(run(shared_everywhere(model, strength=0.0), variant), plain)


@pytest.mark.parametrize("variant", variants(), indirect=True)
def test_one_image_and_a_plain_run_after(variant: Variant) -> None:
    model = variant.model()
    plain, alone = run(model, variant), run(model, variant, images=1)

    assert torch.equal(run(shared_everywhere(model), variant, images=1), alone)
    assert not torch.equal(run(shared_everywhere(model), variant), plain)
    assert torch.equal(run(model, variant), plain)
    assert changed_modules(model) == []


@pytest.mark.thorough
@pytest.mark.parametrize("variant", variants(), indirect=True)
def test_an_error_in_a_joint_attention(variant: Variant) -> None:
    model = variant.model()
    plain = run(model, variant)

    with pytest.raises(RuntimeError, match="out of memory"):
        run(failing(shared_everywhere(model), variant), variant)

    assert changed_modules(model) == []
    assert torch.equal(run(model, variant), plain)


def failing(model: ModelPatcher, variant: Variant) -> ModelPatcher:
    """The first attention of the last joint layer fails, once."""
    *_, (_, last) = variant.layers(model.model.diffusion_model)
    entered: list[bool] = []
    hook = last.register_forward_pre_hook(lambda *_: entered.append(True))

    def attention(func: Any, *args: Any, **kwargs: Any) -> Any:
        if entered:
            hook.remove()
            raise RuntimeError("out of memory")
        return func(*args, **kwargs)

    model.model_options["transformer_options"]["optimized_attention_override"] = attention
    return model
