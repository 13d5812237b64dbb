"""Subgraphs written out, on a graph made by hand."""

from __future__ import annotations

from typing import Any

from devtools.comfyui.subgraphs import expand


def link(number: int, origin: tuple[int, int], target: tuple[int, int]) -> dict[str, Any]:
    return {
        "id": number, "origin_id": origin[0], "origin_slot": origin[1],
        "target_id": target[0], "target_slot": target[1], "type": "MODEL",
    }  # fmt: skip


def node(node_id: int, kind: str, **inputs: int | None) -> dict[str, Any]:
    return {"id": node_id, "type": kind, "inputs": [{"name": name, "link": each} for name, each in inputs.items()]}


def definition(kind: str, nodes: list[Any], links: list[Any]) -> dict[str, Any]:
    return {"id": kind, "inputs": [{"name": "model"}, {"name": "scale"}], "nodes": nodes, "links": links}


OUTER = definition(
    "outer", [node(1, "inner", model=1, scale=2)], [link(1, (-10, 0), (1, 0)), link(2, (-10, 1), (1, 1)),
                                                     link(3, (1, 0), (-20, 0))]
)  # fmt: skip
INNER = definition(
    "inner", [node(1, "Patch", model=1, scale=2), node(2, "Patch", model=3, scale=None)],
    [link(1, (-10, 0), (1, 0)), link(2, (-10, 1), (1, 1)), link(3, (1, 0), (2, 0)), link(4, (2, 0), (-20, 0))],
)  # fmt: skip
GRAPH = {
    "nodes": [node(7, "Loader"), node(8, "outer", model=1, scale=None), node(9, "Sampler", model=2)],
    "links": [[1, 7, 0, 8, 0, "MODEL"], [2, 8, 0, 9, 0, "MODEL"]],
    "definitions": {"subgraphs": [OUTER, INNER]},
}


def origins(graph: dict[str, Any]) -> dict[tuple[Any, str], Any]:
    """Where each linked input of a graph gets its value from."""
    links = {each[0]: (each[1], each[2]) for each in graph["links"]}
    assert len(links) == len(graph["links"])
    return {
        (each["id"], slot["name"]): links[slot["link"]]
        for each in graph["nodes"]
        for slot in each["inputs"]
        if slot["link"] is not None
    }


def test_nested_subgraphs_become_their_nodes():
    graph = expand(GRAPH)
    assert {each["id"]: each["type"] for each in graph["nodes"]} == {
        7: "Loader", 9: "Sampler", "8:1:1": "Patch", "8:1:2": "Patch",
    }  # fmt: skip
    assert origins(graph) == {
        ("8:1:1", "model"): (7, 0), ("8:1:2", "model"): ("8:1:1", 0), (9, "model"): ("8:1:2", 0),
    }  # fmt: skip


def test_a_graph_without_subgraphs_stays_as_it_is():
    plain = {"nodes": GRAPH["nodes"][:1], "links": []}
    assert expand(plain) == plain
