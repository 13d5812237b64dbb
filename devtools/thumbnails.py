"""Draw the thumbnails beside the workflows: each graph's own set, as the icon model draws it.

    COMFYUI_PATH=path/to/ComfyUI python -m devtools.thumbnails

Runs in the host's Python. The graphs run as they are but for what the small model needs: its checkpoint and its size.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from devtools.server import ROOT, TOY_CHECKPOINT, Server
from devtools.workflow import Graph, ObjectInfo, set_widget, to_prompt

WORKFLOWS = ROOT / "workflows"
PICTURE_SIZE = 32  # what the icon model draws
THUMBNAIL_SIZE = 512


def with_icon_model(graph: Graph, info: ObjectInfo) -> Graph:
    """The graph with the icon model's checkpoint and picture size in it."""
    graph = set_widget(graph, "CheckpointLoaderSimple", "ckpt_name", TOY_CHECKPOINT.name, info)
    for side in ("width", "height"):
        graph = set_widget(graph, "EmptyLatentImage", side, PICTURE_SIZE, info)
    return graph


def contact_sheet(pictures: Sequence[Image.Image]) -> Image.Image:
    """The pictures in as square a grid as their number allows, their pixels left crisp."""
    columns = math.ceil(math.sqrt(len(pictures)))
    side = THUMBNAIL_SIZE // columns
    sheet = Image.new("RGB", (columns * side, math.ceil(len(pictures) / columns) * side), "white")
    for place, picture in enumerate(pictures):
        row, column = divmod(place, columns)
        sheet.paste(picture.resize((side, side), Image.Resampling.NEAREST), (column * side, row * side))
    return sheet


def main() -> None:
    with Server(Path(os.environ["COMFYUI_PATH"])) as server:
        info = server.object_info()
        for path in sorted(WORKFLOWS.glob("*.json")):
            graph = with_icon_model(json.loads(path.read_text(encoding="utf-8")), info)
            result = server.run(to_prompt(graph, info))
            pictures = [Image.open(file).convert("RGB") for files in result.images.values() for file in files]
            thumbnail = path.with_suffix(".jpg")
            contact_sheet(pictures).save(thumbnail, quality=88, subsampling=0, optimize=True)
            print(f"{thumbnail}: {len(pictures)} pictures, {thumbnail.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main()
