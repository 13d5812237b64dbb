"""Draw the thumbnails beside the workflows: each graph's own set, as the icon model draws it.

    COMFYUI_PATH=path/to/ComfyUI python -m devtools.thumbnails

Runs in the host's Python. The graphs run as they are but for what the small model needs: its checkpoint, its size, and
an icon in place of the host's example picture and its description. Graphs for transformers have the icon transformer.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from devtools.server import FLUX_CHECKPOINT, ROOT, TOY_CHECKPOINT, Prompt, Server
from devtools.workflow import Graph, ObjectInfo, bypass, matching, set_widget, to_prompt, widget_values
from toy.control import CHECKPOINT_NAME
from toy.icons import SHAPES, draw, place, random_style, words

WORKFLOWS = ROOT / "workflows"
PICTURE_SIZE = 32  # what the icon model draws
PICTURE_SEED, PICTURE_SHAPE = 19, "star"
EXAMPLE_DESCRIPTION = "a girl with fox ears"
THUMBNAIL_SIZE = 512
SIZED_NODES = {"EmptyLatentImage", "EmptySD3LatentImage", "ImageScale"}
LINE_PICTURE = "Picture for line"  # the title of a node that loads a picture for a line, but for the line's number
CONTINUING = "continue_style"  # loads what "save_style" saves
LOADED = {"UNETLoader": 0, "CLIPLoader": 1, "DualCLIPLoader": 1, "VAELoader": 2}
"""Of nodes that load a part of a model: the output of a checkpoint's loader that has it."""
LOADER = "icon transformer"
SHIFT = "ModelSamplingAuraFlow"
FOR_ICON_TRANSFORMER = {"steps": 30, "cfg": 3.0, "sampler_name": "euler", "scheduler": "simple"}


def with_icon_model(graph: Graph, info: ObjectInfo) -> Graph:
    """The graph with the icon model's checkpoint and picture size, and with pictures that `place_pictures` draws."""
    graph = json.loads(json.dumps(graph).replace(EXAMPLE_DESCRIPTION, PICTURE_SHAPE))
    graph = set_widget(graph, "CheckpointLoaderSimple", "ckpt_name", TOY_CHECKPOINT.name, info)
    graph = with_size(graph, info)
    types_and_titles = {name for node in graph["nodes"] for name in (node["type"], node.get("title"))}
    if "ControlNetLoader" in types_and_titles:
        graph = set_widget(graph, "ControlNetLoader", "control_net_name", CHECKPOINT_NAME, info)
    [prompts] = matching(graph, "StyleAlignedPrompts")
    for number, line in enumerate(widget_values(prompts, info)["prompts"].splitlines(), start=1):
        if f"{LINE_PICTURE} {number}" in types_and_titles:
            graph = set_widget(graph, f"{LINE_PICTURE} {number}", "image", f"{words(line)[0]}.png", info)
    return graph


def with_size(graph: Graph, info: ObjectInfo) -> Graph:
    """The graph with the icon model's picture size in it."""
    for node in SIZED_NODES & {node["type"] for node in graph["nodes"]}:
        for side in ("width", "height"):
            graph = set_widget(graph, node, side, PICTURE_SIZE, info)
    return graph


def with_icon_transformer(graph: Graph, info: ObjectInfo) -> Prompt:
    """The prompt of a graph for a transformer, with the icon transformer, its settings and its picture size in it.

    The graph has no checkpoint's loader, and at CFG 1 no negative prompt, which this model needs.
    """
    graph = with_size(graph, info)
    for setting, value in FOR_ICON_TRANSFORMER.items():
        graph = set_widget(graph, "KSampler", setting, value, info)
    if any(node["type"] == SHIFT for node in graph["nodes"]):
        graph = bypass(graph, SHIFT)
    prompt = to_prompt(graph, info)
    outputs = {node_id: LOADED[node["class_type"]] for node_id, node in prompt.items() if node["class_type"] in LOADED}
    kept = {node_id: node for node_id, node in prompt.items() if node_id not in outputs}
    for node in kept.values():
        if node["class_type"] == "ConditioningZeroOut":
            node.update(class_type="CLIPTextEncode", inputs={"text": "", "clip": [LOADER, 1]})
        for name, value in node["inputs"].items():
            if isinstance(value, list) and value[0] in outputs:
                node["inputs"][name] = [LOADER, outputs[value[0]]]
    loader = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": FLUX_CHECKPOINT.name}}
    return {**kept, LOADER: loader}


def place_pictures(server: Server) -> None:
    """What a server in a folder of its own lacks: an icon as the example picture, and each shape, white on black."""
    rng = np.random.default_rng(PICTURE_SEED)
    pictures = {"example": draw(rng, PICTURE_SHAPE, random_style(rng))}
    pictures |= {shape: (255 * place(rng, shape)).astype(np.uint8) for shape in SHAPES}
    for name, picture in pictures.items():
        Image.fromarray(picture).convert("RGB").save(server.base / "input" / f"{name}.png")


def contact_sheet(pictures: Sequence[Image.Image]) -> Image.Image:
    """The pictures in as square a grid as their number allows, their pixels left crisp."""
    columns = math.ceil(math.sqrt(len(pictures)))
    side = THUMBNAIL_SIZE // columns
    sheet = Image.new("RGB", (columns * side, math.ceil(len(pictures) / columns) * side), "white")
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        sheet.paste(picture.resize((side, side), Image.Resampling.NEAREST), (column * side, row * side))
    return sheet


def main() -> None:
    with Server(Path(os.environ["COMFYUI_PATH"])) as server:
        info = server.object_info()
        place_pictures(server)
        for path in sorted(WORKFLOWS.glob("*.json"), key=lambda path: (path.stem == CONTINUING, path)):
            graph = json.loads(path.read_text(encoding="utf-8"))
            transformer = any(node["type"] == "UNETLoader" for node in graph["nodes"])
            prompt = (
                with_icon_transformer(graph, info) if transformer else to_prompt(with_icon_model(graph, info), info)
            )
            result = server.run(prompt)
            pictures = [Image.open(file).convert("RGB") for files in result.images.values() for file in files]
            thumbnail = path.with_suffix(".jpg")
            contact_sheet(pictures).save(thumbnail, quality=88, subsampling=0, optimize=True)
            print(f"{thumbnail}: {len(pictures)} pictures, {thumbnail.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main()
