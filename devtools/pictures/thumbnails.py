"""Draw the thumbnails beside the workflows: each graph's own set, as the icon model draws it.

    COMFYUI_PATH=path/to/ComfyUI python -m devtools.pictures.thumbnails [NAME ...]

Runs in the host's Python. The graphs run as they are but for what the small model needs: its checkpoint, its size, and
icons in place of the host's example picture and its description. Graphs for transformers have the icon transformer.
Where references take no place in the batch, the thumbnail shows them before the pictures. A graph with a map of where
its set looked has that as its thumbnail.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from devtools import ROOT
from devtools.comfyui.server import FLUX_CHECKPOINT, TOY_CHECKPOINT, Prompt, Server
from devtools.comfyui.workflow import Graph, Node, ObjectInfo, bypass, set_widget, to_prompt, widget_values
from toy.control import CHECKPOINT_NAME
from toy.icons import FRAME, SHAPES, draw, place, random_style, words

WORKFLOWS = ROOT / "workflows"
PICTURE_SIZE = 32  # what the icon model draws
PICTURE_SEED, PICTURE_SHAPE = 19, "star"
SECOND_SEED, PHOTO_SEED, PHOTO_SHAPE = 6, 692, "heart"
EXAMPLE_DESCRIPTION = "a girl with fox ears"
THUMBNAIL_SIZE = 512
SIZED_NODES = {"EmptyLatentImage", "EmptySD3LatentImage", "ImageScale"}
LINE_PICTURE = "Picture for line"  # the title of a node that loads a picture for a line, but for the line's number
PICTURES = {
    "The second style": "second.png",
    "The photo to paint in": "photo.png",
    "The picture, painted over where no style is wanted": "photo.png",
}
"""The pictures of nodes with these titles, where not all of a graph's are to be the example."""
CONTINUING = {"continue_style", "reference_long_set"}  # load what "save_style" saves
ENLARGED = 1.25  # by a second pass: at more the icon model draws one icon beside the other
GIVEN = {"StyleAlignedReference": "reference", "SetLatentNoiseMask": "samples"}
"""Of nodes with a picture that is none of the drawn ones: the input that has its latent."""
MAP = "StyleAlignedAttentionMap"
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
    for title, picture in PICTURES.items():
        if title in types_and_titles:
            graph = set_widget(graph, title, "image", picture, info)
    lines = [line for node in graph["nodes"] if node["type"] == "StyleAlignedPrompts" for line in _lines(node, info)]
    for number, line in enumerate(lines, start=1):
        if f"{LINE_PICTURE} {number}" in types_and_titles:
            graph = set_widget(graph, f"{LINE_PICTURE} {number}", "image", f"{words(line)[0]}.png", info)
    return graph


def _lines(prompts: Node, info: ObjectInfo) -> list[str]:
    return list(widget_values(prompts, info)["prompts"].splitlines())


def with_size(graph: Graph, info: ObjectInfo) -> Graph:
    """The graph with the icon model's picture size in it, and what goes by it."""
    graph = {**graph, "nodes": [_small(node, info) if node["type"] in SIZED_NODES else node for node in graph["nodes"]]}
    changes = {
        "ContextWindowsManual": {"context_length": PICTURE_SIZE, "context_overlap": PICTURE_SIZE // 2},
        "LatentUpscaleBy": {"scale_by": ENLARGED},
    }
    for kind in changes.keys() & {node["type"] for node in graph["nodes"]}:
        for name, value in changes[kind].items():
            graph = set_widget(graph, kind, name, value, info)
    return graph


def _small(node: Node, info: ObjectInfo) -> Node:
    """The node with the icon model's size for the shorter side, and a whole multiple of it for the longer one."""
    given = widget_values(node, info)
    shorter = min(given[side] for side in ("width", "height") if given[side])  # 0: as the picture, and icons are square
    alone: Graph = {"nodes": [node]}
    for side in ("width", "height"):
        alone = set_widget(alone, node["type"], side, PICTURE_SIZE * max(round(given[side] / shorter), 1), info)
    return dict(alone["nodes"][0])


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
    """What a server in a folder of its own lacks: icons as the example and other pictures, and each shape in white.

    The photo is painted over within its frame, as by the host's mask editor: its alpha is 0 there.
    """
    rng = np.random.default_rng(PICTURE_SEED)
    pictures = {"example": draw(rng, PICTURE_SHAPE, random_style(rng))}
    pictures |= {shape: (255 * place(rng, shape)).astype(np.uint8) for shape in SHAPES}
    for name, seed, shape in (("second", SECOND_SEED, PICTURE_SHAPE), ("photo", PHOTO_SEED, PHOTO_SHAPE)):
        rng = np.random.default_rng(seed)
        pictures[name] = draw(rng, shape, random_style(rng))
    for name, picture in pictures.items():
        Image.fromarray(picture).convert("RGB").save(server.base / "input" / f"{name}.png")
    alpha = np.full((PICTURE_SIZE, PICTURE_SIZE), 255, np.uint8)
    alpha[FRAME + 1 : -FRAME - 1, FRAME + 1 : -FRAME - 1] = 0
    Image.fromarray(np.dstack([pictures["photo"], alpha])).save(server.base / "input" / "photo.png")


def contact_sheet(pictures: Sequence[Image.Image]) -> Image.Image:
    """The pictures in as square a grid as their number allows, their pixels left crisp."""
    columns = math.ceil(math.sqrt(len(pictures)))
    side = THUMBNAIL_SIZE // columns
    sheet = Image.new("RGB", (columns * side, math.ceil(len(pictures) / columns) * side), "white")
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        sheet.paste(picture.resize((side, side), Image.Resampling.NEAREST), (column * side, row * side))
    return sheet


def with_given(prompt: Prompt) -> Prompt:
    """The prompt with a preview of each picture that it takes something from and does not draw, in order."""
    vae = next([node_id, 2] for node_id, node in prompt.items() if node["class_type"] == "CheckpointLoaderSimple")
    latents = [node["inputs"][GIVEN[node["class_type"]]] for node in prompt.values() if node["class_type"] in GIVEN]
    previews: Prompt = {}
    for number, latent in enumerate(latent for index, latent in enumerate(latents) if latent not in latents[:index]):
        decoded = f"given {number} decoded"
        previews[decoded] = {"class_type": "VAEDecode", "inputs": {"samples": latent, "vae": vae}}
        previews[f"given {number}"] = {"class_type": "PreviewImage", "inputs": {"images": [decoded, 0]}}
    return {**prompt, **previews}


def drawn(server: Server, prompt: Prompt) -> tuple[list[Image.Image], ...]:
    """The pictures that the prompt takes something from, those that it saves, and its maps."""
    images = server.run(with_given(prompt)).images
    given = [name for name in sorted(images) if name.startswith("given")]
    saved = [name for name in images if name in prompt and prompt[name]["class_type"] == "SaveImage"]
    maps = [name for name in images if name in prompt and prompt[name]["class_type"] == MAP]
    every = (given, saved, maps)
    return tuple([Image.open(file).convert("RGB") for name in names for file in images[name]] for names in every)


def fitted(picture: Image.Image) -> Image.Image:
    """A picture of any size in the middle of a thumbnail, on its own colour."""
    side = (THUMBNAIL_SIZE, THUMBNAIL_SIZE)
    return ImageOps.pad(picture, side, Image.Resampling.LANCZOS, color=picture.getpixel((0, 0)))


def beside_given(given: Sequence[Image.Image], pictures: Sequence[Image.Image], mixed: bool) -> list[list[Image.Image]]:
    """Rows of pictures that are as large as can be on a thumbnail, those given first.

    mixed: two given ones stand above the columns of pictures that have the most of them.
    """
    if mixed:
        first, second = given
        side = math.isqrt(len(pictures))
        columns = [pictures[start : start + side] for start in range(0, len(pictures), side)]
        between = [Image.new("RGB", first.size, "white")] * (side - 2)
        return [[first, *between, second], *(list(row) for row in zip(*columns, strict=True))]
    every = [*given, *pictures]
    widths = range(max(picture.width for picture in every), sum(picture.width for picture in every) + 1)
    return max((_filled(every, width) for width in widths), key=_enlargement)


def _filled(pictures: Sequence[Image.Image], width: int) -> list[list[Image.Image]]:
    """The pictures in rows of at most `width`."""
    rows: list[list[Image.Image]] = [[]]
    for picture in pictures:
        if sum(other.width for other in rows[-1]) + picture.width > width:
            rows.append([])
        rows[-1].append(picture)
    return rows


def _extent(rows: Sequence[Sequence[Image.Image]]) -> tuple[int, int]:
    width = max(sum(picture.width for picture in row) for row in rows)
    return width, sum(max(picture.height for picture in row) for row in rows)


def _enlargement(rows: Sequence[Sequence[Image.Image]]) -> int:
    """The whole factor by which the rows fit on a thumbnail."""
    return THUMBNAIL_SIZE // max(_extent(rows))


def sheet_of_rows(rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """A thumbnail with the rows in its middle, their pixels left crisp and their sizes to one scale."""
    factor = _enlargement(rows)
    width, height = (factor * extent for extent in _extent(rows))
    sheet = Image.new("RGB", (THUMBNAIL_SIZE, THUMBNAIL_SIZE), "white")
    top = (THUMBNAIL_SIZE - height) // 2
    for row in rows:
        left = (THUMBNAIL_SIZE - width) // 2
        for picture in row:
            enlarged = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
            sheet.paste(enlarged, (left, top))
            left += enlarged.width
        top += factor * max(picture.height for picture in row)
    return sheet


def main() -> None:
    wanted = set(sys.argv[1:]) or {path.stem for path in WORKFLOWS.glob("*.json")}
    with Server(Path(os.environ["COMFYUI_PATH"])) as server:
        info = server.object_info()
        place_pictures(server)
        paths = sorted(WORKFLOWS.glob("*.json"), key=lambda path: (path.stem in CONTINUING, path))
        for path in (path for path in paths if path.stem in wanted):
            graph = json.loads(path.read_text(encoding="utf-8"))
            transformer = any(node["type"] == "UNETLoader" for node in graph["nodes"])
            prompt = (
                with_icon_transformer(graph, info) if transformer else to_prompt(with_icon_model(graph, info), info)
            )
            given, pictures, maps = drawn(server, prompt)
            weights = {node["inputs"]["weight"] for node in prompt.values() if "weight" in node["inputs"]}
            if maps:
                sheet = fitted(maps[0])
            elif given:
                sheet = sheet_of_rows(beside_given(given, pictures, len(weights) > 1))
            else:
                sheet = contact_sheet(pictures)
            thumbnail = path.with_suffix(".jpg")
            sheet.save(thumbnail, quality=88, subsampling=0, optimize=True)
            print(f"{thumbnail}: {len(pictures)} pictures, {thumbnail.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main()
