"""Draw the README's picture: a set of each icon model, as the model draws it and in one style, by the templates.

    COMFYUI_PATH=path/to/ComfyUI python -m devtools.pictures.readme_picture [SEED ...]

Runs in the host's Python, on its CPU. Two seeds may be given: the UNet's and the transformer's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from devtools import ROOT
from devtools.comfyui.icon_model import ICON_MODELS
from devtools.comfyui.server import Prompt, Server
from devtools.comfyui.workflow import Graph, ObjectInfo, bypass, set_widget, to_prompt
from devtools.demo import SHARING, TOY_PROMPTS, TOY_SETTINGS, load_workflow
from devtools.pictures.comparison_sheet import Row, comparison
from devtools.pictures.thumbnails import drawn, with_icon_model, with_icon_transformer

PICTURE = ROOT / "docs" / "images" / "style-set.png"
SEEDS = (21, 21)
PROMPTS = [*TOY_PROMPTS, "ring", "diamond"]
TITLE = "The same prompts and seed, alone and with Share Attention"
ABOUT = "the small icon models of this repository, a UNet and a Flux, by the templates for SD 1.5 and for Flux.1"
POSITIONS = "StyleAlignedPositions"


def of_unet(graph: Graph, info: ObjectInfo) -> Prompt:
    graph = with_icon_model(graph, info)
    kind = ICON_MODELS["unet"]
    for name, value in {**TOY_SETTINGS, "sampler_name": kind.sampler, "scheduler": kind.scheduler}.items():
        graph = set_widget(graph, "KSampler", name, value, info)
    return to_prompt(graph, info)


MODELS = {
    "A UNet": ("style_aligned_sd15", of_unet, ()),
    "A transformer": ("style_aligned_flux", with_icon_transformer, (POSITIONS,)),
}


def rows(server: Server, seeds: Sequence[int]) -> list[Row]:
    info, found = server.object_info(), []
    for (name, (workflow, ready, beside)), seed in zip(MODELS.items(), seeds, strict=True):
        graph = load_workflow(workflow)
        for kind, setting, value in (
            ("StyleAlignedPrompts", "prompts", "\n".join(PROMPTS)),
            ("StyleAlignedPrompts", "style", ""),
            ("KSampler", "seed", seed),
        ):
            graph = set_widget(graph, kind, setting, value, info)
        alone = graph
        for kind in (SHARING, *beside):
            alone = bypass(alone, kind)
        found.append(Row(f"{name}, alone", pictures(server, ready(alone, info))))
        found.append(Row(f"{name}, in one style", pictures(server, ready(graph, info)), reference=True))
    return found


def pictures(server: Server, prompt: Prompt) -> list[Image.Image]:
    _, saved, _ = drawn(server, prompt)
    return saved


def main(arguments: list[str]) -> int:
    with Server(Path(os.environ["COMFYUI_PATH"]), cpu=True) as server:
        sheet = comparison(TITLE, ABOUT, rows(server, [*map(int, arguments)] or SEEDS), PROMPTS)
    sheet.save(PICTURE, optimize=True)
    print(f"wrote {PICTURE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
