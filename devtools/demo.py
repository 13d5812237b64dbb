"""The same prompts and seed twice through a real ComfyUI: as the model draws them, and in one style."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from devtools import ROOT
from devtools.comfyui.icon_model import ICON_MODELS
from devtools.comfyui.server import PromptFailed, PromptRejected, Server, ServerError, stop_on_signals
from devtools.comfyui.workflow import (
    Graph,
    ObjectInfo,
    WorkflowError,
    bypass,
    matching,
    set_widget,
    to_prompt,
    widget_values,
)
from devtools.commands import demo_options
from devtools.pictures.comparison_sheet import Row, comparison

WORKFLOWS = ROOT / "workflows"
DEFAULT_WORKFLOW = "style_aligned_sd15"
SHARING = "StyleAlignedShareAttention"
TOY_SETTINGS = {"steps": 30, "cfg": 3.0}
TOY_PROMPTS = ["star", "heart", "house", "tree", "mushroom", "moon"]
TOY_SIZE = 32
BAR = 30


class DemoError(Exception):
    """What the user asked for cannot be done: one line."""


@dataclass(frozen=True)
class Request:
    """The demo's graph, ready to run with and without sharing, and the prompts it draws."""

    graph: Graph
    prompts: list[str]
    about: str


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="dev.py demo")
    demo_options(parser)
    stop_on_signals()
    try:
        sheet = demo(parser.parse_args(arguments), Path(os.environ["COMFYUI_PATH"]))
    except (DemoError, ServerError, WorkflowError, PromptRejected, PromptFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    print(f"\nThe pictures are in {sheet.parent}; look at the comparison:\n{sheet}")
    return 0


def demo(chosen: argparse.Namespace, comfyui: Path) -> Path:
    """Draw both rows on a server of their own; the path of the comparison sheet."""
    graph = load_workflow(chosen.workflow or DEFAULT_WORKFLOW)
    prompts = read_prompts(chosen.prompts) if chosen.prompts else None
    started = time.monotonic()
    print("Starting ComfyUI ...", flush=True)
    with Server(comfyui) as server:
        print(f"ComfyUI answers at {server.url} after {time.monotonic() - started:.0f} s", flush=True)
        info = server.object_info()
        request = prepare(graph, info, chosen, prompts)
        alone = draw(server, "the model alone", bypass(request.graph, SHARING), info)
        aligned = draw(server, "in one style", request.graph, info)
        chosen.out.mkdir(parents=True, exist_ok=True)
        for name, pictures in (("alone", alone), ("aligned", aligned)):
            keep(pictures, request.prompts, chosen.out, name)
        rows = [Row("The model alone", load(alone)), Row("In one style", load(aligned), reference=True)]
        sheet: Path = chosen.out / "comparison.png"
        comparison("Style Aligned", request.about, rows, request.prompts).save(sheet)
    return sheet


def load_workflow(name: str) -> Graph:
    path = WORKFLOWS / f"{name.removesuffix('.json')}.json"
    if not path.is_file():
        there = ", ".join(sorted(file.stem for file in WORKFLOWS.glob("*.json")))
        raise DemoError(f"workflows/ has no {path.name}; it has: {there}")
    graph: Graph = json.loads(path.read_text(encoding="utf-8"))
    return graph


def read_prompts(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DemoError(f"the prompts file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DemoError(f"the prompts file {path} is not UTF-8 text") from error
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise DemoError(f"the prompts file {path} has no prompt in it; write one a line, the reference first")
    return prompts


def prepare(graph: Graph, info: ObjectInfo, chosen: argparse.Namespace, prompts: list[str] | None) -> Request:
    """The graph with the user's choices in it; for the small model also its size, settings and vocabulary."""
    kinds = {kind.checkpoint.name: kind for kind in ICON_MODELS.values()}
    toy = kinds.get(chosen.checkpoint or ICON_MODELS[chosen.model].checkpoint.name)
    settings: dict[str, object] = {"seed": chosen.seed}
    if toy:
        settings |= {**TOY_SETTINGS, "sampler_name": toy.sampler, "scheduler": toy.scheduler}
    settings |= {name: value for name in ("steps", "cfg") if (value := getattr(chosen, name)) is not None}
    checkpoint = toy.checkpoint.name if toy else known_checkpoint(chosen.checkpoint, info)
    prompts = prompts or (TOY_PROMPTS if toy else None)
    style = chosen.style if chosen.style is not None else ("" if toy else None)
    changes: list[tuple[str, str, object]] = [("CheckpointLoaderSimple", "ckpt_name", checkpoint)]
    changes += [("KSampler", name, value) for name, value in settings.items()]
    changes += [("EmptyLatentImage", side, TOY_SIZE) for side in ("width", "height") if toy]
    changes += [("StyleAlignedPrompts", "prompts", "\n".join(prompts))] if prompts else []
    changes += [("StyleAlignedPrompts", "style", style)] if style is not None else []
    for kind, name, value in changes:
        graph = set_widget(graph, kind, name, value, info)
    written = widget_values(matching(graph, "StyleAlignedPrompts")[0], info)
    sampling = widget_values(matching(graph, "KSampler")[0], info)
    about = f"{checkpoint} · {sampling['steps']} steps · CFG {sampling['cfg']:g} · seed {sampling['seed']}"
    if written["style"]:
        about += f" · {written['style']}"
    return Request(graph, [line.strip() for line in written["prompts"].splitlines() if line.strip()], about)


def known_checkpoint(name: str, info: ObjectInfo) -> str:
    spec = info["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"]
    there = spec[0] if isinstance(spec[0], list) else spec[1]["options"]
    if name not in there:
        raise DemoError(f"the server has no checkpoint {name!r}; it has: {', '.join(there)}")
    return name


def draw(server: Server, title: str, graph: Graph, info: ObjectInfo) -> list[Path]:
    """Run the graph with a progress bar; the saved pictures in the order of the prompts."""
    samplers = {str(node["id"]) for node in matching(graph, "KSampler")}
    bar = Bar(title)
    result = server.run(
        to_prompt(graph, info),
        lambda node, done, total: bar.show(done, total) if node in samplers else None,
        timeout=24 * 3600,
    )
    bar.finish()
    return [picture for pictures in result.images.values() for picture in pictures]


class Bar:
    """A progress bar on one line; where no terminal shows it, only its last state is printed."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.started = time.monotonic()
        self.state = ""

    def show(self, done: int, total: int) -> None:
        filled = BAR * done // max(1, total)
        self.state = f"{self.title:>16} [{'#' * filled}{'-' * (BAR - filled)}] step {done}/{total}"
        if sys.stdout.isatty():
            print(f"\r{self.state}", end="", flush=True)

    def finish(self) -> None:
        start = "\r" if sys.stdout.isatty() else ""
        print(f"{start}{self.state}, {time.monotonic() - self.started:.1f} s", flush=True)


def keep(pictures: Sequence[Path], prompts: Sequence[str], folder: Path, name: str) -> None:
    """Copy the pictures out of the server's folder, which goes away, under names that say what they show."""
    for number, (picture, prompt) in enumerate(zip(pictures, prompts, strict=True), start=1):
        words = re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:40]
        shutil.copyfile(picture, folder / f"{'-'.join(filter(None, [name, str(number), words]))}.png")


def load(pictures: Sequence[Path]) -> list[Image.Image]:
    return [Image.open(picture).convert("RGB") for picture in pictures]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
