"""The Positions node: settings on a clone of the model, for Share Attention to read."""

from __future__ import annotations

import logging
from typing import Any

import comfy.supported_models
import pytest
import torch
from comfy.model_patcher import CoreModelPatcher, ModelPatcher
from comfy.patcher_extension import WrappersMP
from style_aligned.nodes.positions import StyleAlignedPositions
from style_aligned.shared_attention.host.calls import KEY as SHARE_ATTENTION
from style_aligned.shared_attention.positions import KEY, ReferencePositions
from tiny_models import CPU, tiny_model, tiny_sd3


def tiny_qwen() -> ModelPatcher:
    """A transformer with rotary positions; its weights are as they were in memory."""
    config = comfy.supported_models.QwenImage(
        {
            "in_channels": 64,
            "num_layers": 1,
            "attention_head_dim": 32,
            "num_attention_heads": 2,
            "joint_attention_dim": 40,
            "axes_dims_rope": (8, 12, 12),
        }
    )
    config.set_inference_dtype(torch.float32, None)
    return CoreModelPatcher(config.get_model({}, "", CPU), CPU, CPU)


def positioned(model: ModelPatcher, positions: str = "beside", high: float = 1.0, low: float = 1.0) -> ModelPatcher:
    return StyleAlignedPositions.execute(model, positions, high, low).result[0]


def settings(model: ModelPatcher) -> Any:
    return model.model_options["transformer_options"].get(KEY)


def test_the_settings_are_on_the_clone_alone():
    model = tiny_qwen()
    assert settings(positioned(model, "same", 0.25, 1.5)) == ReferencePositions("same", 0.25, 1.5)
    assert settings(model) is None
    assert not model.get_wrappers(WrappersMP.OUTER_SAMPLE, KEY)


def test_clones_made_later_keep_them_and_a_later_node_takes_their_place():
    first = positioned(tiny_qwen(), "same")
    second = positioned(first.clone(), "none")
    assert settings(first.clone()) == ReferencePositions("same")
    assert settings(second) == ReferencePositions("none")
    assert len(second.get_wrappers(WrappersMP.OUTER_SAMPLE, KEY)) == 1


@pytest.mark.parametrize(("model", "name"), [(lambda: tiny_model("sd15"), "SD 1.x"), (tiny_sd3, "Stable Diffusion 3")])
def test_models_without_rotary_positions_are_refused(model: Any, name: str):
    with pytest.raises(ValueError, match=rf"Positions does nothing for this model \(.*{name}"):
        positioned(model())


@pytest.mark.parametrize("value", [-0.1, 4.1, float("nan")])
def test_factors_out_of_range_are_refused(value: float):
    with pytest.raises(ValueError, match=r"high_frequencies is .*from 0 to 4"):
        positioned(tiny_qwen(), high=value)


def run(model: ModelPatcher, samples: list[str]) -> None:
    """The wrappers around a run, without the run itself."""

    class Guider:
        model_patcher = model

    (wrapper,) = model.get_wrappers(WrappersMP.OUTER_SAMPLE, KEY)

    class Executor:
        class_obj = Guider()

        def __call__(self, sample: str) -> None:
            samples.append(sample)

    wrapper(Executor(), "noise")


def test_says_once_a_run_that_attention_is_not_shared(caplog: pytest.LogCaptureFixture):
    model, samples = positioned(tiny_qwen()), []
    with caplog.at_level(logging.INFO):
        run(model, samples)
        assert caplog.text.count("Positions does nothing, as attention is not shared") == 1
        caplog.clear()
        model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, SHARE_ATTENTION, lambda executor, *args: executor(*args))
        run(model, samples)
    assert "Positions" not in caplog.text
    assert samples == ["noise", "noise"]
