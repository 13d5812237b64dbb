"""Graphs with subgraphs written out: each subgraph's node gives way to the nodes that it stands for.

As in the browser, which does it when a user presses Run, a node inside has the id "SUBGRAPH:NODE" then. Its widgets
have the values that the subgraph's definition gives them.
"""

from __future__ import annotations

import itertools
from typing import Any

from devtools.comfyui.workflow import Graph, Node

INPUTS, OUTPUTS = -10, -20
"""The ids by which links inside a subgraph name its own inputs and outputs."""

Definition = dict[str, Any]


def expand(graph: Graph) -> Graph:
    """The graph without subgraphs, however deep they lie in one another."""
    definitions = {each["id"]: each for each in graph.get("definitions", {}).get("subgraphs", [])}
    while instance := next((node for node in graph["nodes"] if node["type"] in definitions), None):
        graph = _written_out(graph, instance, definitions[instance["type"]])
    return {key: value for key, value in graph.items() if key != "definitions"}


def _written_out(graph: Graph, instance: Node, definition: Definition) -> Graph:
    """The graph with the nodes of `definition` in place of `instance`."""
    outer = {link[0]: link for link in graph["links"]}
    given = {slot["name"]: outer.get(slot.get("link")) for slot in instance["inputs"]}
    entering = [given.get(slot["name"]) for slot in definition["inputs"]]
    numbers = itertools.count(1 + max(outer, default=0))
    inner: dict[int, list[Any]] = {}
    leaving: dict[int, tuple[Any, int]] = {}
    for link in definition["links"]:
        origin = (f"{instance['id']}:{link['origin_id']}", link["origin_slot"])
        if link["origin_id"] == INPUTS:
            if (outside := entering[link["origin_slot"]]) is None:
                continue  # the widget inside has the value
            origin = outside[1], outside[2]
        if link["target_id"] == OUTPUTS:
            leaving[link["target_slot"]] = origin
            continue
        target = f"{instance['id']}:{link['target_id']}", link["target_slot"]
        inner[link["id"]] = [next(numbers), *origin, *target, link["type"]]
    kept = [link for link in graph["links"] if link[3] != instance["id"]]
    led = [[link[0], *leaving[link[2]], *link[3:]] if link[1] == instance["id"] else link for link in kept]
    nodes = [_renamed(node, instance["id"], inner) for node in definition["nodes"]]
    others = [node for node in graph["nodes"] if node is not instance]
    return {**graph, "nodes": [*others, *nodes], "links": [*led, *inner.values()]}


def _renamed(node: Node, instance: Any, links: dict[int, list[Any]]) -> Node:
    """A node of a subgraph with its id and its links as they are outside."""
    slots = [{**slot, "link": links.get(slot["link"], [None])[0]} for slot in node.get("inputs", [])]
    return {**node, "id": f"{instance}:{node['id']}", "inputs": slots}
