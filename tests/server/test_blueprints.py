"""The blueprints in the node library: listed by the host, and run as what they stand for."""

from __future__ import annotations

import json

import numpy as np
import pytest
from blueprints import CONTINUING, NAMES, around, blueprint

from devtools.comfyui.server import PACK_NAME
from devtools.comfyui.subgraphs import INPUTS, OUTPUTS, expand
from devtools.comfyui.workflow import bypass, matching, set_widget, widget_values
from devtools.pictures.thumbnails import PICTURE_SIZE

SHARING, APART = "StyleAlignedShareAttention", "StyleAlignedReference"


@pytest.fixture
def small(object_info, make_small, request):
    """A blueprint's graph written out, made for the icon model and few steps."""

    def prepare(name: str):
        graph = expand(around(name))
        if name == CONTINUING:
            saved = request.getfixturevalue("saved_style")
            graph = set_widget(graph, "StyleAlignedLoadStyle", "name", saved.name, object_info)
        return make_small(graph)

    return prepare


def listed(server) -> dict[str, str]:
    """The ids by which the host knows the pack's blueprints."""
    entries = server.get("/global_subgraphs").items()
    return {entry["name"]: key for key, entry in entries if entry["info"]["node_pack"] == f"custom_nodes.{PACK_NAME}"}


def test_the_host_lists_them(server):
    assert sorted(listed(server)) == NAMES == ["Continue a style", "Style from a picture", "Style set"]


@pytest.mark.parametrize("name", NAMES)
def test_the_host_hands_them_out_as_one_node(server, name):
    entry = server.get(f"/global_subgraphs/{listed(server)[name]}")
    assert entry["source"] == "custom_node"
    graph = json.loads(entry["data"])
    assert graph == blueprint(name)
    [node], [definition] = graph["nodes"], graph["definitions"]["subgraphs"]
    assert node["type"] == definition["id"]
    assert node["title"] == definition["name"] == name
    assert graph["extra"]["BlueprintDescription"] == definition["description"]
    assert {"style aligned", "consistent style", "sref"} <= set(graph["extra"]["BlueprintSearchAliases"])


@pytest.mark.parametrize("name", NAMES)
def test_links_and_slots_agree(object_info, name):
    """The two sides of every link, and the node's outside with its inside."""
    graph = blueprint(name)
    [node], [definition] = graph["nodes"], graph["definitions"]["subgraphs"]
    for side in ("inputs", "outputs"):
        assert [(s["name"], s["type"]) for s in node[side]] == [(s["name"], s["type"]) for s in definition[side]]
    inside = {each["id"]: each for each in definition["nodes"]}
    for link in definition["links"]:
        target, origin = link["target_id"], link["origin_id"]
        ends = [
            definition["outputs"][0]["linkIds"] if target == OUTPUTS
            else [inside[target]["inputs"][link["target_slot"]]["link"]],
            definition["inputs"][link["origin_slot"]]["linkIds"] if origin == INPUTS
            else inside[origin]["outputs"][link["origin_slot"]]["links"],
        ]  # fmt: skip
        assert all(link["id"] in end for end in ends), link
    for each in definition["nodes"]:
        schema = object_info[each["type"]]
        known = {**schema["input"]["required"], **schema["input"].get("optional", {})}
        assert {slot["name"] for slot in each["inputs"]} <= known.keys()
        assert [slot["type"] for slot in each["outputs"]] == schema["output"]


@pytest.mark.parametrize("name", NAMES)
def test_a_blueprint_draws_a_picture_for_each_line(draw, small, object_info, name):
    graph = small(name)
    [prompts] = matching(graph, "StyleAlignedPrompts")
    pictures = draw(graph)
    assert len(pictures) == len(widget_values(prompts, object_info)["prompts"].splitlines()) > 2
    apart = any(node["type"] == APART for node in graph["nodes"])
    plain = draw(bypass(bypass(graph, APART) if apart else graph, SHARING))
    for number, (picture, alone) in enumerate(zip(pictures, plain, strict=True)):
        assert picture.shape == (PICTURE_SIZE, PICTURE_SIZE, 3)
        assert np.array_equal(picture, alone) == (number == 0 and not apart)  # the reference's own
