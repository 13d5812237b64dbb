"""Measure how well sets take on one style with a checkpoint of yours: the paper's protocol, through ComfyUI.

Everything that is drawn is kept, so a run that was stopped goes on, and one with more sets draws only those. What the
numbers mean, and what they don't: docs/your-checkpoint.md.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from devtools.checkpoint_evaluation import files, report
from devtools.checkpoint_evaluation.errors import EvaluationError
from devtools.checkpoint_evaluation.judges import Asked, Judges, load_judges
from devtools.checkpoint_evaluation.measures import Result, measure_set, result
from devtools.checkpoint_evaluation.sets import SHIPPED, StyleSet, pick, read_sets
from devtools.checkpoint_evaluation.shelf import Shelf, Values
from devtools.checkpoint_evaluation.studio import (
    CEILING,
    FLOOR,
    OF_TRANSFORMERS,
    OF_UNETS,
    OURS,
    Studio,
    load_checkpoint,
)
from devtools.comfyui.inprocess import load_pack, start_host
from devtools.comfyui.server import accelerator_available
from devtools.evaluation.variants import VARIANTS

ROOT = Path(__file__).resolve().parents[2]
PRECISIONS = {
    "auto": (), "fp32": ("--fp32-unet",), "fp16": ("--fp16-unet",), "bf16": ("--bf16-unet",),
    "fp8": ("--fp8_e4m3fn-unet",),
}  # fmt: skip
"""The host's options."""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dev.py evaluate", description=__doc__)
    add = parser.add_argument
    add("--checkpoint", metavar="NAME", required=True, help="in ComfyUI's models/checkpoints, or a path")
    add("--vision", metavar="NAME", help="a model of models/clip_vision, CLIP, SigLIP or DINO, that sees the sets")
    add("--clip", metavar="NAME", help="the CLIP of text agreement, if not --vision: its half in models/clip_vision")
    add("--clip-text", metavar="NAME",
        help="its other half, in models/text_encoders (default: in the same file, else the checkpoint's)")  # fmt: skip
    add("--sets", metavar="NUMBERS", help="such as 1-10,25 (default: all)")
    add("--prompts", metavar="FILE", type=Path, default=SHIPPED,
        help="sets of your own, a line each: style | object; object; ... (default: the 100 shipped ones)")  # fmt: skip
    add("--variants", nargs="+", metavar="KEY", choices=sorted({*OF_UNETS, *OF_TRANSFORMERS}),
        help=f"beside the model alone, of: {', '.join(dict.fromkeys((*OF_UNETS, *OF_TRANSFORMERS)))}")  # fmt: skip
    for name, kind, what in (
        ("size", int, "of each side, in pixels"), ("steps", int, "of sampling"), ("cfg", float, "guidance scale"),
        ("sampler", str, "as in KSampler"), ("scheduler", str, "as in KSampler"),
    ):  # fmt: skip
        add(f"--{name}", type=kind, help=f"{what} (default: what suits the model's family)")
    add("--precision", choices=PRECISIONS, default="auto", help="of the model (default: ComfyUI's choice)")
    add("--seed", type=int, default=0, help="a set's is this and its number (default: %(default)s)")
    add("--out", metavar="DIR", type=Path, help="default: output/evaluation-of-CHECKPOINT")
    chosen = parser.parse_args(arguments)
    for name in ("size", "steps", "cfg"):
        if (value := getattr(chosen, name)) is not None and not (math.isfinite(value) and value > 0):
            parser.error(f"--{name} {value} is not above 0")
    return chosen


def main(arguments: Sequence[str]) -> int:
    chosen = parse(arguments)
    options = [*PRECISIONS[chosen.precision], *([] if accelerator_available() else ["--cpu"])]
    comfyui = start_host(*options)
    load_pack()
    files.extend_model_paths(comfyui)
    return run(chosen)


def run(chosen: argparse.Namespace) -> int:
    """In a host that is started, with the pack loaded."""
    import comfy.utils

    comfy.utils.set_progress_bar_enabled(False)
    try:
        with torch.inference_mode():
            out = evaluate(chosen)
    except EvaluationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on where this ended", file=sys.stderr)
        return 130
    print(f"\nwrote evaluation.md, evaluation.json and sets.png to {out}")
    return 0


def evaluate(chosen: argparse.Namespace) -> Path:
    """Draw, look, measure and write; the folder with the results."""
    sets = pick(read_sets(chosen.prompts), chosen.sets)
    if len(sets) < 2:
        raise EvaluationError("one set has no interval; take two or more with --sets")
    path = files.find("checkpoints", chosen.checkpoint)
    asked = Asked(chosen.vision, chosen.clip, chosen.clip_text)
    check_names(asked)
    print(f"Loading {path.name} ...", flush=True)
    names = ("size", "steps", "cfg", "sampler", "scheduler")
    studio = Studio.of(load_checkpoint(path), chosen.seed, **{name: getattr(chosen, name) for name in names})
    check_sampling(studio)
    keys = studio.variants(chosen.variants)
    judges = load_judges(asked, path, studio.loaded.clip)
    made_with = {"precision": studio.precision, **vars(studio.settings), "seed": chosen.seed}
    out: Path = chosen.out or ROOT / "output" / f"evaluation-of-{path.stem}"
    shelf = Shelf.of(out, files.digest(path), made_with)
    draw(shelf, studio, keys, sets)
    seen = {key: look(shelf, key, sets, judges) for key in keys}
    settings = {"family": studio.family, **made_with, "judges": judges.described}
    lacking = [judges.lacking] if judges.lacking else []
    if not studio.meets:
        lacking.append("Not drawn: full sharing, for this model's prompts of unlike length are computed apart.")
    results = results_of(shelf, keys, sets, seen)
    page = report.Page(path.name, settings, sets, results, FLOOR, CEILING, " ".join(lacking))
    write(page, out)
    sheet(shelf, page, out)
    return out


def check_names(asked: Asked) -> None:
    """Before anything is loaded, let alone drawn."""
    for kind, name in (("clip_vision", asked.vision), ("clip_vision", asked.clip), ("text_encoders", asked.text)):
        if name is not None:
            files.find(kind, name)


def check_sampling(studio: Studio) -> None:
    from comfy.samplers import KSampler

    for name, known in (("sampler", KSampler.SAMPLERS), ("scheduler", KSampler.SCHEDULERS)):
        if (said := getattr(studio.settings, name)) not in known:
            raise EvaluationError(f"KSampler has no {name} {said!r}; it has: {', '.join(known)}")


def draw(shelf: Shelf, studio: Studio, keys: Sequence[str], sets: Sequence[StyleSet]) -> None:
    """The variants of a set in turn, so that a slow moment of the machine hits all of them."""
    missing = [(key, each) for each in sets for key in keys if not shelf.has(key, each)]
    if missing:
        for key in keys:  # what cannot be done is refused before anything is drawn
            studio.model(key)
        replace(studio, settings=replace(studio.settings, steps=1)).draw(FLOOR, sets[0])  # loads the model
    for key, each in tqdm(missing, unit="set", desc="drawing", disable=not missing):
        shelf.put(key, each, *studio.draw(key, each))


def look(shelf: Shelf, key: str, sets: Sequence[StyleSet], judges: Judges) -> list[Values]:
    """What is measured of each set; kept, since a vision model on a processor takes its time."""
    found = []
    for each in tqdm(sets, unit="set", desc=f"measuring {key}", leave=False):
        values = shelf.seen(key, each, judges.made_of)
        if values is None:
            values = measure_set(shelf.pictures(key, each), each.objects, judges)
            shelf.put_seen(key, each, judges.made_of, values)
        found.append(values)
    return found


def results_of(
    shelf: Shelf, keys: Sequence[str], sets: Sequence[StyleSet], seen: dict[str, list[Values]]
) -> list[Result]:
    alone = [shelf.seconds(FLOOR, each) for each in sets]
    costs = {key: [shelf.seconds(key, each) / time for each, time in zip(sets, alone, strict=True)] for key in keys}
    return [result(key, VARIANTS[key].title, seen[key], costs[key]) for key in keys]


def write(page: report.Page, out: Path) -> None:
    text = report.markdown(page)
    print(f"\n{text}")
    (out / "evaluation.md").write_text(text, encoding="utf-8")
    (out / "evaluation.json").write_text(json.dumps(report.as_json(page), indent=1) + "\n", encoding="utf-8")


def sheet(shelf: Shelf, page: report.Page, out: Path) -> None:
    """The sets in which the variant shown is best, middling and worst, each alone, in one style, and fully shared."""
    shown = page.result(OURS) or page.results[-1]
    order = np.argsort(shown.values["consistency"] if "consistency" in shown.values else -shown.values["palette"])
    rows = []
    for name, place in (("Best", order[-1]), ("Median", order[len(order) // 2]), ("Worst", order[0])):
        drawn = page.sets[int(place)]
        for key in dict.fromkeys((FLOOR, shown.key, CEILING)):
            if each := page.result(key):
                heading = f"{name}, {each.title}: {', '.join(drawn.objects)} · {drawn.style}"
                rows.append((heading, shelf.pictures(key, drawn)))
    report.contact_sheet(rows, f"{page.checkpoint} · {shown.title}").save(out / "sets.png")
