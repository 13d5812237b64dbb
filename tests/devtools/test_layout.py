"""Templates are laid out by the program, which moves and folds nodes and leaves the rest of a graph alone."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from devtools.comfyui.workflow import NOTES, Graph
from devtools.layout import FOLDED, PLUMBING, READABLE, SIZES, WORKFLOWS, foldable, laid_out, members

NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
SMALL, LARGE = "style_aligned_sdxl", "reference_panorama"


def shipped(name: str) -> Graph:
    return dict(json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8")))


def but_for_the_layout(graph: Graph) -> dict[str, Any]:
    nodes = [{**node, "pos": None, "size": None, "flags": None} for node in graph["nodes"]]
    return {**graph, "nodes": nodes, "groups": None, "extra": {**graph["extra"], "ds": None}}


@pytest.mark.parametrize("name", NAMES)
def test_a_template_is_as_the_program_lays_it_out(name):
    graph = shipped(name)
    assert laid_out(graph) == graph, "run: python -m devtools.layout"
    assert graph["extra"]["ds"]["scale"] >= READABLE


def test_nothing_but_the_layout_changes():
    graph = shipped(SMALL)
    scattered = copy.deepcopy(graph)
    for node in scattered["nodes"]:
        node.update(size=[1000, 1000], flags={"collapsed": True})
    for group in scattered["groups"]:
        group["title"] = group["title"].replace("1 · ", "7 · ")
    before = copy.deepcopy(scattered)
    assert laid_out(scattered) == graph
    assert scattered == before
    assert but_for_the_layout(scattered) == but_for_the_layout(graph)


def test_nodes_stay_in_their_groups_and_notes_stand_below_them():
    graph = shipped(SMALL)
    assert sum(map(len, members(graph))) == sum(node["type"] not in NOTES for node in graph["nodes"])
    bottom = max(top + height for _, top, _, height in (group["bounding"] for group in graph["groups"]))
    assert all(node["pos"][1] > bottom for node in graph["nodes"] if node["type"] in NOTES)


def test_nodes_with_nothing_to_set_are_folded_and_more_only_in_large_graphs():
    small, large = ({node["type"] for node in shipped(name)["nodes"] if node["flags"]} for name in (SMALL, LARGE))
    assert small <= PLUMBING
    assert large - PLUMBING == NOTES & large
    assert NOTES & large


def test_what_may_be_folded():
    kinds = ["LoadImage", "LoadImage", "ImageScale", "VAEEncode", "CLIPTextEncode", "StyleAlignedPrompts"]
    group = [{"type": kind, "widgets_values": [""]} for kind in kinds]
    assert foldable(group) == ["", "further picture", "size", "plumbing", "empty prompt", ""]


def test_a_graph_that_cannot_be_read_is_refused():
    graph = shipped(SMALL)
    [loader] = [node for node in graph["nodes"] if node["type"] == "CheckpointLoaderSimple"]
    ids = range(100, 200)
    graph["nodes"] += [{**loader, "id": key, "outputs": []} for key in ids]
    with pytest.raises(ValueError, match=r"even with all folded, the graph opens at a zoom of 0\.\d+"):
        laid_out(graph)


def test_every_node_of_a_template_has_a_size():
    kinds = {node["type"] for name in NAMES for node in shipped(name)["nodes"]}
    assert kinds <= SIZES.keys() | PLUMBING | NOTES
    assert all(FOLDED < height <= room for height, room in SIZES.values())
