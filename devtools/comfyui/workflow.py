"""From a graph as the browser saves it (LiteGraph JSON, version 0.4) to the prompt ComfyUI's API takes.

The browser does this conversion when a user presses Run; here it is without a browser. `object_info` is the server's
own answer to /object_info: the schemas tell which saved value belongs to which input.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Graph = dict[str, Any]
Node = dict[str, Any]
ObjectInfo = dict[str, Any]

ALWAYS, MUTED, BYPASSED = 0, 2, 4  # LiteGraph's node modes
NOTES = {"Note", "MarkdownNote"}
FRONTEND_ONLY = {*NOTES, "Reroute", "PrimitiveNode"}  # these exist in the browser alone
WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
SEEDS = {"seed", "noise_seed"}
UPLOADS = {"image_upload", "video_upload", "audio_upload", "animated_image_upload"}


class WorkflowError(Exception):
    """The graph cannot be run as it is."""


@dataclass(frozen=True)
class Literal:
    """A value that reaches an input through a link, from a primitive node."""

    value: Any


def to_prompt(graph: Graph, object_info: ObjectInfo) -> dict[str, Any]:
    """The API prompt of a graph: what the browser would send for it."""
    active = [node for node in graph["nodes"] if _runs(node)]
    unknown = [f"{node['id']} ({node['type']})" for node in active if node["type"] not in object_info]
    if unknown:
        raise WorkflowError(f"the server lacks the type of node {', '.join(unknown)}")
    links = _Links(graph)
    return {
        str(node["id"]): {
            "class_type": node["type"],
            "inputs": {**widget_values(node, object_info), **links.inputs_of(node)},
            "_meta": {"title": node.get("title") or node["type"]},
        }
        for node in active
    }


def _runs(node: Node) -> bool:
    return node["type"] not in FRONTEND_ONLY and node.get("mode", ALWAYS) not in (MUTED, BYPASSED)


class _Links:
    """Where the inputs of a graph's nodes get their values from, seen through everything that is not run."""

    def __init__(self, graph: Graph) -> None:
        self.nodes = {node["id"]: node for node in graph["nodes"]}
        self.origins = {link[0]: (link[1], link[2]) for link in graph.get("links", [])}

    def inputs_of(self, node: Node) -> dict[str, Any]:
        """The linked inputs of `node`; those whose link leads nowhere are left out."""
        found = {slot["name"]: self._follow(slot.get("link")) for slot in node.get("inputs", [])}
        return {
            name: origin.value if isinstance(origin, Literal) else origin
            for name, origin in found.items()
            if origin is not None
        }

    def _follow(self, link: int | None) -> list[Any] | Literal | None:
        """The output [node id, slot] behind a link, through reroutes and bypassed nodes; None if there is none."""
        while link is not None and link in self.origins:
            node_id, output = self.origins[link]
            node = self.nodes.get(node_id)
            if node is None or node.get("mode", ALWAYS) == MUTED:
                return None
            if node["type"] == "PrimitiveNode":
                return Literal(node["widgets_values"][0])
            if node["type"] == "Reroute":
                link = node["inputs"][0].get("link")
            elif node.get("mode", ALWAYS) == BYPASSED:
                link = _bypass_input(node, output).get("link")
            else:
                return [str(node_id), output]
        return None


def _bypass_input(node: Node, output: int) -> dict[str, Any]:
    """The input that a bypassed node hands on as `output`: the one in its place if of that type, else the first."""
    inputs, kind = node.get("inputs", []), node["outputs"][output]["type"]
    same_place = inputs[output : output + 1]
    return next((slot for slot in [*same_place, *inputs] if slot["type"] == kind), {})


def widget_values(node: Node, object_info: ObjectInfo) -> dict[str, Any]:
    """The values of a node's widgets by input name; the schema's default for widgets younger than the graph."""
    saved = node.get("widgets_values") or []
    if isinstance(saved, dict):
        return {name: saved.get(name, _default(spec)) for name, spec in _widgets(node, object_info) if name}
    values: dict[str, Any] = {}
    for place, (name, spec) in enumerate(_widgets(node, object_info)):
        if name:
            values[name] = saved[place] if place < len(saved) else _default(spec)
    return values


def _widgets(node: Node, object_info: ObjectInfo) -> Iterator[tuple[str | None, list[Any]]]:
    """(input name, schema) of each widget in the order in which a graph saves their values.

    The name is None for what the browser adds on its own: the control after a seed and the upload button.
    """
    schema = object_info[node["type"]]["input"]
    with_widget = {slot["widget"]["name"] for slot in node.get("inputs", []) if slot.get("widget")}
    for section in ("required", "optional"):
        uploads = 0
        for name, spec in schema.get(section, {}).items():
            options = _options(spec)
            if not _is_widget(spec) and name not in with_widget:
                continue
            yield name, spec
            if options.get("control_after_generate", name in SEEDS and spec[0] == "INT"):
                yield None, []
            uploads += any(options.get(kind) for kind in UPLOADS)
        for _ in range(uploads):
            yield None, []


def _options(spec: list[Any]) -> dict[str, Any]:
    return spec[1] if len(spec) > 1 else {}


def _is_widget(spec: list[Any]) -> bool:
    kind = "COMBO" if isinstance(spec[0], list) else spec[0]  # a list of choices is the older way to say COMBO
    return kind in WIDGET_TYPES and not _options(spec).get("forceInput")


def _default(spec: list[Any]) -> Any:
    choices = spec[0] if isinstance(spec[0], list) else _options(spec).get("options")
    return _options(spec).get("default", choices[0] if choices else None)


def matching(graph: Graph, type_or_title: str) -> list[Node]:
    """The nodes of a type, or with a title; an error if there are none."""
    found = [node for node in graph["nodes"] if type_or_title in (node["type"], node.get("title"))]
    if not found:
        raise WorkflowError(f"the graph has no node of type or title {type_or_title!r}")
    return found


def set_widget(graph: Graph, type_or_title: str, input_name: str, value: Any, object_info: ObjectInfo) -> Graph:
    """A copy of the graph in which a widget of every matching node has another value."""
    graph = copy.deepcopy(graph)
    for node in matching(graph, type_or_title):
        if node["type"] not in object_info:
            raise WorkflowError(f"the server lacks the type of node {node['id']} ({node['type']})")
        names = [name for name, _ in _widgets(node, object_info)]
        if input_name not in names:
            raise WorkflowError(f"node {node['id']} ({node['type']}) has no widget {input_name!r}")
        if any(slot["name"] == input_name and slot.get("link") is not None for slot in node.get("inputs", [])):
            raise WorkflowError(
                f"{input_name!r} of node {node['id']} ({node['type']}) is linked, so its widget is unused"
            )
        _store(node, names, input_name, value, object_info)
    return graph


def _store(node: Node, names: list[str | None], input_name: str, value: Any, object_info: ObjectInfo) -> None:
    saved = node.get("widgets_values") or []
    if isinstance(saved, dict):
        node["widgets_values"] = {**saved, input_name: value}
        return
    specs = [spec for _, spec in _widgets(node, object_info)]
    saved = [*saved, *(_default(spec) if spec else None for spec in specs[len(saved) :])]
    saved[names.index(input_name)] = value
    node["widgets_values"] = saved


def bypass(graph: Graph, type_or_title: str) -> Graph:
    """A copy of the graph in which every matching node is bypassed, as by Ctrl-B in the browser."""
    graph = copy.deepcopy(graph)
    for node in matching(graph, type_or_title):
        node["mode"] = BYPASSED
    return graph
