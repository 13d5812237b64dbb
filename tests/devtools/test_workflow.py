"""Conversion of saved graphs to API prompts, on graphs made by hand."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from devtools.comfyui.workflow import WorkflowError, bypass, set_widget, to_prompt

OBJECT_INFO: dict[str, Any] = {
    "Loader": {"input": {"required": {"name": [["a.safetensors", "b.safetensors"]]}}},
    "Sampler": {
        "input": {
            "required": {
                "model": ["MODEL"],
                "seed": ["INT", {"default": 0, "control_after_generate": True}],
                "steps": ["INT", {"default": 20}],
                "sampler": ["COMBO", {"options": ["euler", "heun"]}],
                "latent": ["LATENT"],
            },
            "optional": {"denoise": ["FLOAT", {"default": 1.0}]},
        }
    },
    "Patch": {"input": {"required": {"scale": ["FLOAT", {"default": 1.0}], "model": ["MODEL"]}}},
    "Latent": {"input": {"required": {"width": ["INT", {"default": 512}]}}},
    "LoadPicture": {
        "input": {
            "required": {"image": [["x.png"], {"image_upload": True}], "channel": [["alpha", "red"]]},
            "optional": {"invert": ["BOOLEAN", {"default": False}]},
        }
    },
    "Forced": {"input": {"required": {"text": ["STRING", {"forceInput": True}], "count": ["INT", {}]}}},
    "Coloured": {"input": {"required": {"tint": ["COLOUR", {}], "count": ["INT", {}]}}},
}


def node(node_id: int, kind: str, values: Any = None, inputs: dict[str, Any] | None = None, **more: Any) -> dict:
    """A saved node; `inputs` maps names to (type, link)."""
    slots = [{"name": name, "type": of, "link": link} for name, (of, link) in (inputs or {}).items()]
    return {"id": node_id, "type": kind, "mode": 0, "inputs": slots, "widgets_values": values, **more}


def graph(*nodes: dict, links: list[list] | None = None) -> dict[str, Any]:
    return {"version": 0.4, "nodes": list(nodes), "links": links or []}


@pytest.fixture
def chain() -> dict[str, Any]:
    """Loader -> Patch -> Sampler, with the latent on the sampler's other input."""
    return graph(
        node(1, "Loader", ["b.safetensors"], outputs=[{"type": "MODEL"}]),
        node(2, "Patch", [0.5], {"model": ("MODEL", 10)}, outputs=[{"type": "MODEL"}], title="Share"),
        node(3, "Latent", [32], outputs=[{"type": "LATENT"}]),
        node(4, "Sampler", [7, "randomize", 30, "heun", 0.8], {"model": ("MODEL", 11), "latent": ("LATENT", 12)}),
        links=[[10, 1, 0, 2, 0, "MODEL"], [11, 2, 0, 4, 0, "MODEL"], [12, 3, 0, 4, 1, "LATENT"]],
    )


def test_links_and_widgets(chain: dict[str, Any]) -> None:
    prompt = to_prompt(chain, OBJECT_INFO)
    assert list(prompt) == ["1", "2", "3", "4"]
    assert prompt["1"]["class_type"] == "Loader"
    assert prompt["1"]["inputs"] == {"name": "b.safetensors"}
    assert prompt["2"]["inputs"] == {"scale": 0.5, "model": ["1", 0]}
    assert prompt["4"]["inputs"] == {
        "model": ["2", 0],
        "seed": 7,
        "steps": 30,
        "sampler": "heun",
        "latent": ["3", 0],
        "denoise": 0.8,
    }


def test_a_seed_has_its_control_even_where_the_schema_does_not_say_so(chain: dict[str, Any]) -> None:
    info = copy.deepcopy(OBJECT_INFO)
    del info["Sampler"]["input"]["required"]["seed"][1]["control_after_generate"]
    assert to_prompt(chain, info)["4"]["inputs"]["steps"] == 30


def test_widgets_younger_than_the_graph_have_their_default(chain: dict[str, Any]) -> None:
    chain["nodes"][3]["widgets_values"] = [7, "fixed"]
    inputs = to_prompt(chain, OBJECT_INFO)["4"]["inputs"]
    assert (inputs["steps"], inputs["sampler"], inputs["denoise"]) == (20, "euler", 1.0)


def test_widget_values_saved_by_name() -> None:
    assert to_prompt(graph(node(1, "Patch", {"scale": 0.25})), OBJECT_INFO)["1"]["inputs"] == {"scale": 0.25}


def test_the_upload_button_takes_a_place_before_the_optional_widgets() -> None:
    saved = graph(node(1, "LoadPicture", ["x.png", "red", "image", True]))
    assert to_prompt(saved, OBJECT_INFO)["1"]["inputs"] == {"image": "x.png", "channel": "red", "invert": True}


def test_a_forced_input_has_no_widget() -> None:
    assert to_prompt(graph(node(1, "Forced", [3])), OBJECT_INFO)["1"]["inputs"] == {"count": 3}


def test_a_type_unknown_here_is_a_widget_where_the_graph_says_so() -> None:
    coloured = node(1, "Coloured", ["#ffffff", 3], {"tint": ("COLOUR", None)})
    coloured["inputs"][0]["widget"] = {"name": "tint"}
    assert to_prompt(graph(coloured), OBJECT_INFO)["1"]["inputs"] == {"tint": "#ffffff", "count": 3}


def test_a_link_goes_before_the_saved_value_of_its_widget() -> None:
    saved = graph(
        node(1, "Latent", [64], outputs=[{"type": "INT"}]),
        node(2, "Latent", [32], {"width": ("INT", 1)}),
        links=[[1, 1, 0, 2, 0, "INT"]],
    )
    assert to_prompt(saved, OBJECT_INFO)["2"]["inputs"] == {"width": ["1", 0]}


def test_a_primitive_gives_its_value_through_a_reroute() -> None:
    saved = graph(
        node(1, "PrimitiveNode", [48, "fixed"], outputs=[{"type": "INT"}]),
        node(2, "Reroute", None, {"": ("*", 1)}, outputs=[{"type": "*"}]),
        node(3, "Latent", [32], {"width": ("INT", 2)}),
        links=[[1, 1, 0, 2, 0, "INT"], [2, 2, 0, 3, 0, "INT"]],
    )
    prompt = to_prompt(saved, OBJECT_INFO)
    assert list(prompt) == ["3"]
    assert prompt["3"]["inputs"] == {"width": 48}


def test_reroutes_are_followed_however_many(chain: dict[str, Any]) -> None:
    chain["nodes"] += [
        node(5, "Reroute", None, {"": ("*", 11)}, outputs=[{"type": "MODEL"}]),
        node(6, "Reroute", None, {"": ("*", 13)}, outputs=[{"type": "MODEL"}]),
    ]
    chain["links"] += [[13, 5, 0, 6, 0, "MODEL"], [14, 6, 0, 4, 0, "MODEL"]]
    chain["nodes"][3]["inputs"][0]["link"] = 14
    assert to_prompt(chain, OBJECT_INFO)["4"]["inputs"]["model"] == ["2", 0]


def test_a_reroute_from_nowhere_leaves_the_input_out() -> None:
    saved = graph(
        node(1, "Reroute", None, {"": ("*", None)}, outputs=[{"type": "*"}]),
        node(2, "Patch", [0.5], {"model": ("MODEL", 1)}),
        links=[[1, 1, 0, 2, 0, "MODEL"]],
    )
    assert to_prompt(saved, OBJECT_INFO)["2"]["inputs"] == {"scale": 0.5}


def test_bypass_hands_the_model_on(chain: dict[str, Any]) -> None:
    before = copy.deepcopy(chain)
    prompt = to_prompt(bypass(chain, "Patch"), OBJECT_INFO)
    assert "2" not in prompt
    assert prompt["4"]["inputs"]["model"] == ["1", 0]
    assert chain == before


def test_bypass_prefers_the_input_in_the_outputs_place() -> None:
    saved = graph(
        node(1, "Loader", ["a.safetensors"], outputs=[{"type": "MODEL"}]),
        node(2, "Loader", ["b.safetensors"], outputs=[{"type": "MODEL"}]),
        node(
            3,
            "Merge",
            None,
            {"one": ("MODEL", 1), "two": ("MODEL", 2)},
            outputs=[{"type": "MODEL"}, {"type": "MODEL"}, {"type": "CLIP"}],
            mode=4,
        ),
        node(4, "Patch", [1], {"model": ("MODEL", 3)}),
        node(5, "Patch", [1], {"model": ("MODEL", 4)}),
        node(6, "Patch", [1], {"model": ("MODEL", 5)}),
        links=[
            [1, 1, 0, 3, 0, "MODEL"],
            [2, 2, 0, 3, 1, "MODEL"],
            [3, 3, 0, 4, 0, "MODEL"],
            [4, 3, 1, 5, 0, "MODEL"],
            [5, 3, 2, 6, 0, "CLIP"],
        ],
    )
    prompt = to_prompt(saved, OBJECT_INFO)
    assert prompt["4"]["inputs"]["model"] == ["1", 0]
    assert prompt["5"]["inputs"]["model"] == ["2", 0]
    assert "model" not in prompt["6"]["inputs"]


def test_a_muted_node_is_left_out_with_the_links_from_it(chain: dict[str, Any]) -> None:
    chain["nodes"][1]["mode"] = 2
    prompt = to_prompt(chain, OBJECT_INFO)
    assert "2" not in prompt
    assert "model" not in prompt["4"]["inputs"]


def test_notes_are_left_out(chain: dict[str, Any]) -> None:
    chain["nodes"] += [node(8, "Note", ["why"]), node(9, "MarkdownNote", ["# why"])]
    assert list(to_prompt(chain, OBJECT_INFO)) == ["1", "2", "3", "4"]


def test_unknown_types_are_all_named_but_not_those_that_do_not_run(chain: dict[str, Any]) -> None:
    chain["nodes"] += [node(7, "Absent"), node(8, "Gone"), node(9, "Muted", mode=2)]
    with pytest.raises(WorkflowError, match=r"node 7 \(Absent\), 8 \(Gone\)$"):
        to_prompt(chain, OBJECT_INFO)


def test_set_widget_by_type_and_by_title(chain: dict[str, Any]) -> None:
    before = copy.deepcopy(chain)
    changed = set_widget(chain, "Sampler", "steps", 4, OBJECT_INFO)
    changed = set_widget(changed, "Share", "scale", 2.0, OBJECT_INFO)
    prompt = to_prompt(changed, OBJECT_INFO)
    assert prompt["4"]["inputs"]["steps"] == 4
    assert prompt["4"]["inputs"]["seed"] == 7
    assert prompt["2"]["inputs"]["scale"] == 2.0
    assert chain == before


def test_set_widget_fills_up_values_the_graph_lacks(chain: dict[str, Any]) -> None:
    chain["nodes"][3]["widgets_values"] = [7, "fixed"]
    inputs = to_prompt(set_widget(chain, "Sampler", "denoise", 0.5, OBJECT_INFO), OBJECT_INFO)["4"]["inputs"]
    assert (inputs["seed"], inputs["steps"], inputs["sampler"], inputs["denoise"]) == (7, 20, "euler", 0.5)


def test_set_widget_saved_by_name() -> None:
    changed = set_widget(graph(node(1, "Patch", {"scale": 1.0})), "Patch", "scale", 0.5, OBJECT_INFO)
    assert changed["nodes"][0]["widgets_values"] == {"scale": 0.5}


def test_set_widget_says_what_it_cannot_set(chain: dict[str, Any]) -> None:
    with pytest.raises(WorkflowError, match="no node of type or title 'Nothing'"):
        set_widget(chain, "Nothing", "steps", 4, OBJECT_INFO)
    with pytest.raises(WorkflowError, match=r"node 4 \(Sampler\) has no widget 'cfg'"):
        set_widget(chain, "Sampler", "cfg", 4, OBJECT_INFO)
    chain["nodes"][3]["inputs"].append({"name": "steps", "type": "INT", "link": 11, "widget": {"name": "steps"}})
    with pytest.raises(WorkflowError, match=r"'steps' of node 4 .* is linked"):
        set_widget(chain, "Sampler", "steps", 4, OBJECT_INFO)
    with pytest.raises(WorkflowError, match="lacks the type of node 4"):
        set_widget(chain, "Sampler", "steps", 4, {})
