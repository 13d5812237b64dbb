"""Measure how well sets take on one style, with every option, and how good the icon model is that draws them.

`python dev.py evaluate` runs it. What is drawn is kept, so a run that was stopped goes on, and a run with more sets or
variants draws only what is new.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from devtools.checkpoint_evaluation import program
from devtools.comfyui.icon_model import ICON_MODELS
from devtools.commands import is_of_a_checkpoint
from devtools.evaluation import drawing, model_quality, page, report
from devtools.evaluation.attending import attention_to_reference
from devtools.evaluation.drawing import SAMPLES, SAMPLES_AT_ONCE, studio_of
from devtools.evaluation.readings import Reading
from devtools.evaluation.sets import plan
from devtools.evaluation.shelf import Shelf, Task
from devtools.evaluation.summary import COPIED, Goals, Values, consistency, distance_to, metrics
from devtools.evaluation.variants import OF_HARD, OF_INSIDE, OF_MODEL, SHOWN, VARIANTS, Variant
from toy import judge
from toy.precision import half_precision

ROOT = Path(__file__).resolve().parent.parent
BASELINES = ("plain", "picture-plain")
ATTENDING_SETS = 20  # the share of attention hardly differs from set to set
OF_A_CHECKPOINT = "With --checkpoint NAME: the same of a checkpoint of yours; see evaluate --checkpoint NAME --help."


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dev.py evaluate", description=__doc__, epilog=OF_A_CHECKPOINT)
    parser.add_argument("--model", choices=OF_MODEL, default="unet", help="the icon model (default: %(default)s)")
    parser.add_argument("--sets", type=int, default=200, help="of five pictures, a variant (default: %(default)s)")
    keys = "; ".join(f"of {model}: {', '.join(keys)}" for model, keys in OF_MODEL.items())
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--hard", action="store_true",
                      help="sets that tempt to copy: a large reference off the centre, lines that do not say what to "
                      "show")  # fmt: skip
    kind.add_argument("--inside", action="store_true",
                      help="what each block and each part of sampling does alone, and how much of their attention "
                      "targets give to the reference there")  # fmt: skip
    parser.add_argument("--variants", nargs="*", metavar="KEY", choices=VARIANTS,
                        help="beside the model alone; with none named, only the model's samples are judged "
                        f"(default: {keys})")  # fmt: skip
    parser.add_argument("--samples", type=int, default=1000,
                        help="of the model alone, to judge it by, at each of three CFG scales; 0 for none")  # fmt: skip
    parser.add_argument("--timed", type=int, default=5, help="sets by which time is compared (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes that draw (default: one a core)")
    parser.add_argument("--sheet", metavar="KEY", choices=VARIANTS,
                        help=f"whose sets are shown (default: {', '.join(SHOWN.values())})")  # fmt: skip
    parser.add_argument("--out", metavar="DIR", type=Path, default=ROOT / "output" / "evaluation",
                        help="default: output/evaluation")  # fmt: skip
    parser.add_argument("--publish", action="store_true", help="bring tables and pictures to the pages of docs/")
    chosen = parser.parse_args(arguments)
    if chosen.sets < 2:
        parser.error("a confidence interval needs at least two sets")
    if chosen.variants is None:
        of = OF_HARD if chosen.hard else OF_INSIDE if chosen.inside else OF_MODEL
        chosen.variants = of[chosen.model]
    if (chosen.hard or chosen.inside) and chosen.variants:
        chosen.sheet, chosen.samples = chosen.sheet or chosen.variants[-1 if chosen.hard else 0], 0
    chosen.sheet = chosen.sheet or SHOWN[chosen.model]
    return chosen


def main(arguments: Sequence[str]) -> int:
    if is_of_a_checkpoint(arguments):
        return program.main(arguments)
    chosen = parse(arguments)
    wanted = with_baselines([*chosen.variants, chosen.sheet]) if chosen.variants else []
    shelf = Shelf(chosen.out, chosen.model, chosen.hard)
    parts = range(-(-chosen.samples // SAMPLES_AT_ONCE))
    tasks = [(key, part) for key in SAMPLES for part in parts]
    tasks += [(variant.key, number) for number in range(chosen.sets) for variant in wanted]
    draw(shelf, tasks, chosen.workers)
    quality = {cfg: model_quality.assess(samples(shelf, key, parts)) for key, cfg in SAMPLES.items() if parts}
    results = results_of(wanted, shelf, chosen.sets, costs(wanted, chosen.model, chosen.timed))
    kind = ICON_MODELS[chosen.model]
    settings = {
        "model": chosen.model, "hard": chosen.hard, "sets": chosen.sets,
        "steps": drawing.STEPS[chosen.model], "cfg": drawing.CFG, "sampler": f"{kind.sampler} {kind.scheduler}",
    }  # fmt: skip
    kinds = {"": True, "-flux": chosen.model == "flux", "-hard": chosen.hard, "-inside": chosen.inside}
    name = "evaluation" + "".join(ending for ending, is_so in kinds.items() if is_so)
    made = chosen.out / name
    tables = write(made, results, quality, settings, attention_inside(chosen) if chosen.inside else None)
    if results:
        shown = next(result for result in results if result.variant.key == chosen.sheet)
        sheet(shelf, shown, chosen.out / f"{name}-sets.png")
        if chosen.publish:
            page.publish(made, tables, ROOT / "docs")
    print(f"\nwrote {name}.md, {name}.json and pictures to {chosen.out}")
    return 0


def attention_inside(chosen: argparse.Namespace) -> dict[str, float]:
    """Of the variants that differ in what shares: other positions are another attention."""
    base = OF_INSIDE[chosen.model][0]
    parts = [key for key in chosen.variants if VARIANTS[key].positions == VARIANTS[base].positions]
    return attention_to_reference(chosen.model, base, parts, min(chosen.sets, ATTENDING_SETS))


def with_baselines(keys: Sequence[str]) -> list[Variant]:
    """In the order of VARIANTS, with what they are compared with."""
    needed = {*keys, *(VARIANTS[key].baseline for key in keys)}
    return [variant for key, variant in VARIANTS.items() if key in needed]


def draw(shelf: Shelf, tasks: Sequence[Task], workers: int) -> None:
    left_after = drawing.draw_missing(shelf, tasks, workers)
    missing = next(left_after)
    for _ in tqdm(left_after, total=missing, unit="set", mininterval=5, disable=not missing):
        pass


def costs(wanted: Sequence[Variant], model: str, sets: int) -> dict[str, float]:
    """Seconds a set, the variants in turn so that a slow moment of the machine hits all of them."""
    if not wanted or not sets:
        return {}
    studio = studio_of(model)
    seconds: dict[str, list[float]] = {variant.key: [] for variant in wanted}
    with torch.inference_mode(), half_precision():
        studio.draw(wanted[0], plan(0))  # loads the model
        for number in range(sets):
            for variant in wanted:
                started = time.perf_counter()
                studio.draw(variant, plan(number))
                seconds[variant.key].append(time.perf_counter() - started)
    return {key: float(np.median(each)) for key, each in seconds.items()}


def results_of(wanted: Sequence[Variant], shelf: Shelf, sets: int, seconds: Mapping[str, float]) -> list[report.Result]:
    plans = [plan(number, shelf.hard) for number in range(sets)]
    readings = {variant.key: [shelf.reading((variant.key, number)) for number in range(sets)] for variant in wanted}
    found = {key: metrics(each, plans, readings[VARIANTS[key].baseline]) for key, each in readings.items()}
    mixes = [variant.key for variant in wanted if variant.source == "apart" and variant.apart.is_mix]
    if mixes:
        palettes = judge.load().read(torch.cat([drawing.as_pictures(each.second) for each in plans])).palettes
        found |= {key: {**found[key], "second": distance_to(readings[key], palettes)} for key in mixes}
    return [result_of(variant, found, seconds) for variant in wanted]


def result_of(
    variant: Variant, found: Mapping[str, Mapping[str, Values]], seconds: Mapping[str, float]
) -> report.Result:
    values, baseline = found[variant.key], found[variant.baseline]
    consistent = consistency(values, baseline)
    return report.Result(
        variant,
        values,
        consistent,
        None if variant.key in BASELINES else Goals.of(values, baseline),
        seconds[variant.key] / seconds[variant.baseline] if seconds else None,
        {name: values[name] - baseline[name] for name in COPIED},
        float((consistent - consistency(baseline, baseline)).mean()),
    )


def samples(shelf: Shelf, key: str, parts: Sequence[int]) -> model_quality.Samples:
    readings: list[Reading] = [shelf.reading((key, part)) for part in parts]
    return model_quality.Samples(
        [caption for part in parts for caption in model_quality.captions(part, SAMPLES_AT_ONCE)],
        np.concatenate([reading.labels for reading in readings]),
        np.concatenate([reading.palettes for reading in readings]),
        torch.cat([shelf.pictures((key, part)) for part in parts]),
    )


def write(
    name: Path,
    results: Sequence[report.Result],
    quality: Mapping[float, model_quality.Quality],
    settings: Mapping[str, object],
    attention: Mapping[str, float] | None = None,
) -> dict[str, str]:
    """Tables as `name`.md and .json, and the plot beside them; the tables."""
    tables = tables_of(results, quality, bool(settings["hard"]), attention)
    text = "\n\n".join(tables.values()) + "\n"
    print(text)
    name.parent.mkdir(parents=True, exist_ok=True)
    name.with_suffix(".md").write_text(text, encoding="utf-8")
    found = report.as_json(results, quality, settings) | ({"attention": dict(attention)} if attention else {})
    name.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if results:
        report.scatter(results, name.with_name(f"{name.name}-scatter.png"))
    return tables


def tables_of(
    results: Sequence[report.Result],
    quality: Mapping[float, model_quality.Quality],
    hard: bool,
    attention: Mapping[str, float] | None,
) -> dict[str, str]:
    """By the names that pages call them."""
    tables = {}
    if quality:
        tables["model"] = report.quality_table(quality, model_quality.training_frequencies())
    if attention is not None:
        tables["inside"] = report.inside_table(results, attention)
    if hard:
        tables["leaks"] = report.hard_table(results)
    if results:
        tables |= {"style": report.table(results), "copies": report.copies_table(results)}
        tables["goals"] = report.goals_table(results)
    if mixes := [result for result in results if "second" in result.values]:
        tables["mixes"] = report.mix_table(mixes)
    return tables


def sheet(shelf: Shelf, result: report.Result, path: Path) -> None:
    """The best, the median and the worst set by consistency, each without and with sharing."""
    order = np.argsort(result.consistency)
    chosen = {"Best": order[-1], "Median": order[len(order) // 2], "Worst": order[0]}
    plans, pictures = {}, {}
    for name, number in chosen.items():
        for ending, key in ((", alone", result.variant.baseline), (", in one style", result.variant.key)):
            plans[name + ending] = plan(int(number), shelf.hard)
            pictures[name + ending] = (shelf.pictures((key, int(number))) * 255).round().byte().numpy()
    report.contact_sheet(plans, pictures, result.variant.title).save(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
