"""The evaluation for readers: tables in Markdown and JSON, a plot of every variant, and sheets of sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from devtools.evaluation.model_quality import Quality
from devtools.evaluation.sets import TARGETS, Plan
from devtools.evaluation.summary import STYLE_HEADS, Estimate, Goals, Values
from devtools.evaluation.variants import Variant
from devtools.pictures.comparison_sheet import Row, comparison
from toy import icons

COLUMNS = {
    "colour": "colour distance",
    **{head: head for head in STYLE_HEADS},
    "similarity": "feature cosine",
    "content": "content",
    "leakage": "leakage",
    "diversity": "diversity",
}
BEYOND = {"copying": "copying", "overlap": "overlap of shapes", "seconds": "second objects", "duplicates": "duplicates"}
SHARES = {*STYLE_HEADS, "content", "leakage", "broken", "seconds", "duplicates"}


@dataclass(frozen=True)
class Result:
    """What was found for one variant; `cost` is the time of a set, as a multiple of its baseline's."""

    variant: Variant
    values: Mapping[str, Values]
    consistency: Values
    goals: Goals | None  # a baseline has none
    cost: float | None  # where it was timed
    beyond: Mapping[str, Values]  # of COPIED, set by set: how much more than the baseline's
    gained: float  # consistency, beyond the baseline's

    @property
    def estimates(self) -> dict[str, Estimate]:
        return {name: Estimate.of(values) for name, values in self.values.items()}


def as_json(
    results: Sequence[Result], quality: Mapping[float, Quality], settings: Mapping[str, object]
) -> dict[str, object]:
    return {
        "settings": dict(settings),
        "model": {f"cfg {cfg:g}": each.as_dict() for cfg, each in quality.items()},
        "variants": {
            result.variant.key: {
                "title": result.variant.title,
                "cost": result.cost,
                "consistency": vars(Estimate.of(result.consistency)),
                "goals": {**vars(result.goals), "reached": result.goals.reached} if result.goals else None,
                **{name: vars(estimate) for name, estimate in result.estimates.items()},
                "beyond": {name: vars(Estimate.of(values)) for name, values in result.beyond.items()},
            }
            for result in results
        },
    }


def table(results: Sequence[Result]) -> str:
    """Means with 95% confidence intervals."""
    lines = [f"| variant | {' | '.join(COLUMNS.values())} | cost |", "|---|" + "---|" * (len(COLUMNS) + 1)]
    for result in results:
        cells = [_cell(name, result.estimates[name]) for name in COLUMNS]
        lines.append(f"| {result.variant.title} | {' | '.join(cells)} | {_cost(result.cost)} |")
    return "\n".join(lines)


def _cost(cost: float | None) -> str:
    return "" if cost is None else f"{cost:.2f}"


def copies_table(results: Sequence[Result]) -> str:
    """What becomes of contents, and what targets have of the reference's beside what the baseline's have."""
    head = ("shape as prompted", "the reference's", "none: broken up", *(f"{name}, beyond" for name in BEYOND.values()))
    lines = [f"| variant | {' | '.join(head)} |", "|---|" + "---|" * len(head)]
    for result in results:
        cells = [_cell(name, result.estimates[name]) for name in ("content", "leakage", "broken")]
        cells += [_cell(name, Estimate.of(result.beyond[name]), "+") for name in BEYOND]
        lines.append(f"| {result.variant.title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def hard_table(results: Sequence[Result]) -> str:
    """What leaks where nothing keeps it out, and what protection leaves of it and of the style."""
    gained = {result.variant.key: result.gained for result in results}
    head = ("leakage, beyond", *(f"{name}, beyond" for name in BEYOND.values()), "style gained", "kept of unprotected")
    lines = [f"| variant | {' | '.join(head)} |", "|---|" + "---|" * len(head)]
    for result in results:
        cells = [_cell(name, Estimate.of(result.beyond[name]), "+") for name in ("leakage", *BEYOND)]
        unprotected = gained.get(result.variant.unprotected or "", 0.0)
        kept = f"{result.gained / unprotected:.0%}" if unprotected else ""
        lines.append(f"| {result.variant.title} | {' | '.join(cells)} | {result.gained:.3f} | {kept} |")
    return "\n".join(lines)


def inside_table(results: Sequence[Result], attention: Mapping[str, float]) -> str:
    """What each part does alone, beside the share of the targets' attention that the reference has there."""
    head = ("attention to the reference", "style gained", "colour distance", *STYLE_HEADS, "content")
    lines = [f"| what shares | {' | '.join(head)} |", "|---|" + "---|" * len(head)]
    for result in results:
        there = attention.get(result.variant.key)
        cells = ["" if there is None else f"{there:.0%}", f"{result.gained:.3f}"]
        cells += [_cell(name, result.estimates[name]) for name in ("colour", *STYLE_HEADS, "content")]
        lines.append(f"| {result.variant.title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def goals_table(results: Sequence[Result]) -> str:
    """What each variant reaches of what sharing is for."""
    lines = [
        "| variant | colour distance left | agreement gained | content lost | leakage | all reached |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        if goals := result.goals:
            lines.append(
                f"| {result.variant.title} | {goals.colour:.0%} | {goals.agreement:.1f} x | {goals.content_loss:.1%} "
                f"| {goals.leakage:.1%} | {'yes' if goals.reached else 'no'} |"
            )
    return "\n".join(lines)


def mix_table(results: Sequence[Result]) -> str:
    """How far targets are from each of two references, by the weight of the second; the weights of both add up to 1."""
    lines = ["| weight of the second picture | colour distance to the first | to the second |", "|---|---|---|"]
    for result in sorted(results, key=lambda result: result.variant.apart.mix):
        cells = [_cell(name, result.estimates[name]) for name in ("colour", "second")]
        lines.append(f"| {result.variant.apart.mix:g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def quality_table(quality: Mapping[float, Quality], training: Mapping[str, Mapping[str, float]]) -> str:
    """The icon model's plain samples by CFG scale, beside what is asked of them."""
    found = list(quality.values())
    rows = [
        ("the prompted shape is recognised", [f"{each.shape_recognised:.1%}" for each in found], "97%"),
        ("the style words are obeyed", [f"{each.words_obeyed:.1%}" for each in found], "95%"),
        *((f"... {head}", [f"{each.obeyed[head]:.1%}" for each in found], "") for head in training),
        ("unprompted styles: the most a word's frequency is off", [""] * len(found), "near 0"),
        *((f"... {head}", [_most_off(each.frequencies[head], expected) for each in found], "")
          for head, expected in training.items()),
        ("colours: Wasserstein distance to the data's (OKLab)", [f"{each.colour_distance:.4f}" for each in found],
         f"{found[0].colour_distance_of_data:.4f} between two draws of the data"),
        ("grain: RMS step between neighbours on flat areas", [f"{each.grain.inside:.4f}" for each in found],
         f"{found[0].grain_of_data.inside:.4f} in the data"),
        ("... beside edges, which are soft", [f"{each.grain.beside_edges:.4f}" for each in found],
         f"{found[0].grain_of_data.beside_edges:.4f} in the data"),
    ]  # fmt: skip
    scales = [f"CFG {cfg:g}" for cfg in quality]
    lines = [
        f"| of {found[0].samples:,} plain samples | {' | '.join(scales)} | wanted |",
        "|---|" + "---|" * (len(scales) + 1),
    ]
    return "\n".join([*lines, *(f"| {name} | {' | '.join(cells)} | {wanted} |" for name, cells, wanted in rows)])


def _most_off(found: Mapping[str, float], expected: Mapping[str, float]) -> str:
    """The word that is farthest from its frequency in the data, and by how much."""
    word = max(expected, key=lambda each: abs(found[each] - expected[each]))
    return f"{word} {found[word] - expected[word]:+.1%}"


def _cell(name: str, estimate: Estimate, sign: str = "") -> str:
    if name in SHARES:
        return f"{estimate.mean:{sign}.1%} ± {estimate.half_width:.1%}"
    return f"{estimate.mean:{sign}.3f} ± {estimate.half_width:.3f}"


LEAST_SHOWN = 0.05  # of the axis of content, which nearly all variants may have in full
APART = 0.035  # of the height of the plot, between two names


def scatter(results: Sequence[Result], path: Path) -> None:
    """Consistency against content, with confidence intervals, every variant by its name."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 6), layout="constrained")
    shown = sorted(results, key=lambda result: result.consistency.mean())
    points = [(Estimate.of(result.values["content"]), Estimate.of(result.consistency)) for result in shown]
    lowest, highest = (sign * max(sign * y.mean + y.half_width for _, y in points) for sign in (-1, 1))
    places = spread([y.mean for _, y in points], APART * (highest - lowest))
    for result, (x, y), place in zip(shown, points, places, strict=True):
        colour = "#c2410c" if result.variant.source == "text" else "#1d4ed8"
        bars = {"xerr": x.half_width, "yerr": y.half_width, "lw": 0.8, "alpha": 0.85}
        axes.errorbar(x.mean, y.mean, fmt="o", color=colour, ms=4, **bars)
        axes.annotate(
            result.variant.title,
            (x.mean, y.mean),
            (1.04, place),
            textcoords=("axes fraction", "data"),
            va="center",
            color=colour,
            arrowprops={"arrowstyle": "-", "lw": 0.4, "color": colour, "relpos": (0, 0.5)},
            fontsize=8,
        )
    axes.set_xlim(min(1 - LEAST_SHOWN, *(x.mean - x.half_width - 0.005 for x, _ in points)), 1.005)
    axes.set_xlabel("content: the prompted shape is recognised")
    axes.set_ylabel("consistency with the reference")
    axes.grid(alpha=0.25)
    axes.set_title("Orange: references from text; blue: a given picture as the reference", fontsize=10)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def spread(values: Sequence[float], least: float) -> list[float]:
    """Rising values moved apart, so that each is `least` or more above the one before, and in the middle as before."""
    places: list[float] = []
    for value in values:
        places.append(value if not places else max(value, places[-1] + least))
    moved = (sum(places) - sum(values)) / len(values)
    return [place - moved for place in places]


def contact_sheet(
    plans: Mapping[str, Plan], pictures: Mapping[str, Sequence[icons.Picture]], subtitle: str
) -> Image.Image:
    """A row for each heading: a set of pictures (uint8), its reference first."""
    rows = [
        Row(f"{heading}: {', '.join(plan.shapes)}", [Image.fromarray(picture) for picture in pictures[heading]])
        for heading, plan in plans.items()
    ]
    captions = ["reference", *(f"target {number}" for number in range(1, TARGETS + 1))]
    return comparison("Best, median and worst set", subtitle, rows, captions)
