"""The pack's blueprints: what the node library offers as one node, and a graph in which it runs."""

from __future__ import annotations

import copy
import json
from pathlib import Path

from devtools import ROOT
from devtools.comfyui.workflow import Graph, Node

BLUEPRINTS = ROOT / "subgraphs"
NAMES = sorted(path.stem for path in BLUEPRINTS.glob("*.json"))
CONTINUING = "Continue a style"

_LOADED = ("MODEL", "CLIP", "VAE")


def blueprint(name: str, folder: Path = BLUEPRINTS) -> Graph:
    return dict(json.loads((folder / f"{name}.json").read_text(encoding="utf-8")))


def around(name: str) -> Graph:
    """The blueprint's node as a user has it: behind a checkpoint and a picture, and before Save Image."""
    graph = copy.deepcopy(blueprint(name))
    [node] = graph["nodes"]
    checkpoint = _node(101, "CheckpointLoaderSimple", _LOADED, ["v1-5-pruned-emaonly-fp16.safetensors"])
    picture = _node(102, "LoadImage", ("IMAGE", "MASK"), ["example.png", "image"])
    saving = {**_node(103, "SaveImage", (), ["style_aligned/blueprint"]), "inputs": [{"name": "images", "link": 50}]}
    links = [[50, node["id"], 0, saving["id"], 0, "IMAGE"]]
    for place, slot in enumerate(node["inputs"]):
        if slot["type"] in (*_LOADED, "IMAGE"):
            origin = picture if slot["type"] == "IMAGE" else checkpoint
            output = [each["type"] for each in origin["outputs"]].index(slot["type"])
            slot["link"] = 51 + place
            links.append([slot["link"], origin["id"], output, node["id"], place, slot["type"]])
    node["outputs"][0]["links"] = [50]
    return {**graph, "nodes": [node, checkpoint, picture, saving], "links": links}


def _node(node_id: int, kind: str, outputs: tuple[str, ...], values: list[str]) -> Node:
    slots = [{"name": each, "type": each} for each in outputs]
    return {"id": node_id, "type": kind, "inputs": [], "outputs": slots, "widgets_values": values}
