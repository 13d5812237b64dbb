"""The evaluation for readers: a page of tables, the same as JSON with every set's numbers, and a sheet of sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from devtools.checkpoint_evaluation.measures import COST, MEASURES, PAIRED, Result, of_the_way
from devtools.checkpoint_evaluation.sets import StyleSet
from devtools.evaluation.summary import Estimate
from devtools.pictures.comparison_sheet import CELL, GAP, HEADING, Row, comparison, font, wrap

GUIDE = "What the numbers mean, and what they don't: docs/your-checkpoint.md."


@dataclass(frozen=True)
class Page:
    """results: the model alone first. settings: by name, as drawn. lacking: what was not measured, and why."""

    checkpoint: str
    settings: Mapping[str, object]
    sets: Sequence[StyleSet]
    results: Sequence[Result]
    floor: str
    ceiling: str
    lacking: str = ""

    def result(self, key: str) -> Result | None:
        return next((each for each in self.results if each.key == key), None)

    @property
    def names(self) -> list[str]:
        """Of what was measured, in the order of the columns."""
        return [name for name in MEASURES if name in self.results[0].values]


def markdown(page: Page) -> str:
    objects = sum(len(each.objects) for each in page.sets)
    said = ", ".join(f"{name} {value}" for name, value in page.settings.items())
    parts = [f"# Sets in one style with {page.checkpoint}", f"{len(page.sets)} sets, {objects} pictures; {said}."]
    parts += [page.lacking] if page.lacking else []
    parts += ["Means over sets with 95% intervals.", _table(page)]
    if len(page.results) > 1:
        parts += ["What changes beside the model alone, set by set:", _differences(page)]
    if ways := _ways(page):
        parts += ["How far the way from the model alone (0%) to full sharing (100%) is gone:", ways]
    parts.append("\n".join(f"- *{MEASURES[name].title}*: {MEASURES[name].meaning}." for name in page.names))
    return "\n\n".join([*parts, GUIDE]) + "\n"


def _table(page: Page) -> str:
    rows = [[each.title, *(_cell(name, each.estimate(name)) for name in [*page.names, COST])] for each in page.results]
    return _markdown_table(["variant", *(MEASURES[name].title for name in page.names), "time / alone"], rows)


def _differences(page: Page) -> str:
    floor = page.results[0]
    rows = [
        [each.title, *(_cell(name, each.beside(floor, name), signed=True) for name in page.names)]
        for each in page.results[1:]
    ]
    return _markdown_table(["variant", *(MEASURES[name].title for name in page.names)], rows)


def _ways(page: Page) -> str:
    """Of the measures of a set as a whole; empty where full sharing was not drawn."""
    floor, ceiling = page.result(page.floor), page.result(page.ceiling)
    if floor is None or ceiling is None:
        return ""
    names = [name for name in page.names if name in PAIRED]
    rows = []
    for each in page.results:
        if each not in (floor, ceiling):
            ways = [of_the_way(name, floor, each, ceiling) for name in names]
            rows.append([each.title, *("-" if way is None else f"{way:.0%}" for way in ways)])
    return _markdown_table(["variant", *(MEASURES[name].title for name in names)], rows) if rows else ""


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(name: str, estimate: Estimate, signed: bool = False) -> str:
    digits = 2 if name == COST else MEASURES[name].digits
    return f"{estimate.mean:{'+' if signed else ''}.{digits}f} ± {estimate.half_width:.{digits}f}"


def as_json(page: Page) -> dict[str, object]:
    floor = page.results[0]
    return {
        "checkpoint": page.checkpoint,
        "settings": dict(page.settings),
        "not_measured": page.lacking,
        "sets": [{"number": each.number, "style": each.style, "objects": each.objects} for each in page.sets],
        "variants": {
            each.key: {
                "title": each.title,
                **{
                    name: {
                        **vars(each.estimate(name)),
                        "beside_alone": vars(each.beside(floor, name)),
                        "of_sets": [float(value) for value in values],
                    }
                    for name, values in each.values.items()
                },
            }
            for each in page.results
        },
    }


def contact_sheet(rows: Sequence[tuple[str, Tensor]], subtitle: str) -> Image.Image:
    """A row for each heading: the pictures of a set, (pictures, height, width, 3) of 0..1, the reference first."""
    count = max(len(pictures) for _, pictures in rows)
    width = count * (CELL + GAP)
    shown = [
        Row(wrap(heading, width, font(HEADING), 1)[0], [_as_image(picture) for picture in pictures])
        for heading, pictures in rows
    ]
    captions = ["reference", *(f"target {number}" for number in range(1, count))]
    return comparison("Best, median and worst set", subtitle, shown, captions)


def _as_image(picture: Tensor) -> Image.Image:
    return Image.fromarray((picture * 255).round().byte().numpy())
