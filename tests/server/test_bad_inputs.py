"""What cannot be done is answered in the pack's own words, and the server goes on."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from devtools.comfyui.server import PromptFailed, PromptRejected
from devtools.comfyui.workflow import set_widget, to_prompt

SHARING, PROMPTS = "StyleAlignedShareAttention", "StyleAlignedPrompts"


@pytest.fixture(autouse=True)
def _goes_on(server, draw, icon_graph):
    yield
    assert server.alive()
    assert draw(icon_graph(steps=1))


@pytest.mark.parametrize(
    ("node", "values", "message"),
    [
        (SHARING, {"blocks": "input.4, wibble.2"}, "'wibble.2' is not a block"),
        (SHARING, {"blocks": "output.5-3"}, "output.3-5"),
        (SHARING, {"start_percent": 0.8, "end_percent": 0.2}, "start_percent (0.8) lies after end_percent (0.2)"),
        (PROMPTS, {"prompts": ""}, "There is no prompt"),
        (PROMPTS, {"prompts": " \n\n\t\n"}, "There is no prompt"),
    ],
)
def test_a_bad_value_is_refused_before_anything_runs(server, object_info, icon_graph, node, values, message):
    graph = icon_graph()
    for name, value in values.items():
        graph = set_widget(graph, node, name, value, object_info)
    with pytest.raises(PromptRejected) as refused:
        server.run(to_prompt(graph, object_info))
    assert message in str(refused.value)


def test_empty_prompts_over_a_connection(server, object_info, icon_graph, expected_errors):
    prompt = to_prompt(icon_graph(), object_info)
    prompt["text"] = {"class_type": "PrimitiveStringMultiline", "inputs": {"value": "\n"}}
    for node in prompt.values():
        if node["class_type"] == PROMPTS:
            node["inputs"]["prompts"] = ["text", 0]
    expected_errors.append("ValueError: There is no prompt. Write one prompt a line")
    with pytest.raises(PromptFailed, match="There is no prompt"):
        server.run(prompt)


def test_group_norms_that_a_transformer_has_not(server, object_info, icon_graph, transformer, expected_errors):
    prompt = to_prompt(icon_graph(), object_info)
    prompt["transformer"] = {
        "class_type": "UNETLoader",
        "inputs": {"unet_name": transformer, "weight_dtype": "default"},
    }
    for node in prompt.values():
        if node["class_type"] == SHARING:
            node["inputs"] |= {"model": ["transformer", 0], "share_group_norm": True}
    said = "share_group_norm is on and Stable Diffusion 3 has no group norms"
    expected_errors.append(f"ValueError: {said}")
    with pytest.raises(PromptFailed, match=f"{said}.*Switch it off"):
        server.run(prompt)


@pytest.fixture
def transformer(server) -> str:
    """The file name of a one-layer transformer, shaped like SD3's, among the server's models."""
    import comfy.ops
    from comfy.ldm.modules.diffusionmodules.mmdit import MMDiT

    model = MMDiT(
        input_size=None, in_channels=16, depth=1, adm_in_channels=8, pos_embed_max_size=4, num_patches=16,
        context_embedder_config={"target": "torch.nn.Linear", "params": {"in_features": 8, "out_features": 64}},
        dtype=torch.float16, device="cpu", operations=comfy.ops.disable_weight_init,
    )  # fmt: skip
    folder = server.base / "models" / "diffusion_models"
    folder.mkdir(parents=True, exist_ok=True)
    weights = {f"model.diffusion_model.{name}": torch.zeros_like(w) for name, w in model.state_dict().items()}
    save_file(weights, folder / "transformer.safetensors")
    return "transformer.safetensors"
