"""Models that are not UNets of Stable Diffusion are refused by name, and bad values before anything runs."""

from __future__ import annotations

import comfy.model_patcher
import comfy.supported_models
import pytest
import torch
from sampling import shared
from style_aligned.nodes.share_attention import StyleAlignedShareAttention
from tiny_models import COMMON_UNET, tiny_model

CPU = torch.device("cpu")


def patcher(config) -> comfy.model_patcher.ModelPatcher:
    config.set_inference_dtype(torch.float32, None)
    return comfy.model_patcher.CoreModelPatcher(config.get_model({}, "", CPU), CPU, CPU)


def tiny_sd3():
    context = {"target": "torch.nn.Linear", "params": {"in_features": 32, "out_features": 128}}
    return patcher(
        comfy.supported_models.SD3(
            {
                "in_channels": 16,
                "patch_size": 2,
                "depth": 2,
                "input_size": None,
                "adm_in_channels": 64,
                "context_embedder_config": context,
                "num_patches": 256,
                "pos_embed_max_size": 16,
                "pos_embed_scaling_factor": None,
            }
        )
    )


def tiny_svd():
    temporal = {
        "use_temporal_attention": True,
        "use_temporal_resblock": True,
        "extra_ff_mix_layer": True,
        "use_spatial_context": True,
        "merge_strategy": "learned_with_images",
        "merge_factor": 0.0,
        "video_kernel_size": [3, 1, 1],
        "num_head_channels": 16,
        "num_heads": -1,
    }
    return patcher(comfy.supported_models.SVD_img2vid({**COMMON_UNET, **temporal}))


@pytest.mark.parametrize(("build", "name"), [(tiny_sd3, "SD3"), (tiny_svd, "SVD_img2vid")])
def test_other_models_are_refused_by_name(build, name: str):
    with pytest.raises(ValueError, match=name) as caught:
        shared(build())
    assert "SD 1.x, SD 2.x, SDXL" in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"blocks": "inptu.4"}, "'inptu.4' is not a block"),
        ({"start_percent": 0.8, "end_percent": 0.2}, "lies after end_percent"),
        ({"start_percent": 1.2}, "from 0 to 1"),
    ],
    ids=str,
)
def test_bad_values_are_refused_before_and_at_the_run(values: dict, message: str):
    assert message in str(StyleAlignedShareAttention.validate_inputs(**values))
    with pytest.raises(ValueError, match=message):
        shared(tiny_model("sd15"), **values)


@pytest.mark.parametrize("values", [{}, {"blocks": None}, {"blocks": "middle", "end_percent": 0.0}], ids=str)
def test_good_and_connected_values_pass(values: dict):
    assert StyleAlignedShareAttention.validate_inputs(**values) is True
