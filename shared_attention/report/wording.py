"""The report in words and tables."""

from __future__ import annotations

from torch import Tensor

from .measure import Measure, Measured
from .outlier import FEWEST

MOST_IN_TABLES = 12  # pictures, above which all pairs are too many to read
_NAME, _CELL = 16, 10


def report(sets: list[Measured]) -> str:
    """The measures of one set, or of two: then their means beside each other first."""
    parts = [means(sets), *(_set(each) for each in sets)]
    return "\n\n".join(parts) + "\n"


def means(sets: list[Measured]) -> str:
    """A line for each measure, a column for each set."""
    titles = "".join(f"{each.title:>16}" for each in sets)
    lines = [f"{'mean against the reference':<28}{titles}"]
    for name, meaning, values in rows_of_means(sets):
        lines.append(f"  {name:<26}" + "".join(f"{value:>16}" for value in values) + f"   {meaning}")
    return "\n".join(lines)


def rows_of_means(sets: list[Measured]) -> list[tuple[str, str, list[str]]]:
    """A measure's name, its meaning, and its mean of each set's pictures against the reference; contrast's is plain."""
    rows = [
        (each.name, each.meaning, [number(of_set.measures[place].to_reference().mean()) for of_set in sets])
        for place, each in enumerate(sets[0].measures)
    ]
    contrasts = [number(of_set.contrasts[1:].mean()) for of_set in sets]
    beside = ", ".join(number(of_set.contrasts[0]) for of_set in sets)
    return [*rows, ("contrast", f"deviation of L; reference {beside}", contrasts)]


def falls_out(of_set: Measured) -> str:
    """Which picture falls out and by what; 'none', with the reason where nobody can tell."""
    if len(of_set.names) < FEWEST:
        return f"falls out: none, for it takes {FEWEST} pictures to tell"
    found = of_set.fallen_out()
    if not found:
        return "falls out: none"
    parts = [
        f"{name} by {by} (mean distance {number(each.distance)}, limit {number(each.limit)})"
        for name, by, each in found
    ]
    return "falls out: " + "; ".join(parts)


def number(value: float | Tensor) -> str:
    return f"{float(value) + 0.0:.3f}"


def _set(of_set: Measured) -> str:
    height, width = of_set.pictures[-1].shape[:2]
    lines = [f"{of_set.title}: {len(of_set.names) - 1} against the reference, {width} x {height}", falls_out(of_set)]
    lines += ["", _row("", [*(each.name for each in of_set.measures), "contrast"])]
    for place, name in enumerate(of_set.names):
        measured = [number(each.table[0, place]) if place else "-" for each in of_set.measures]
        lines.append(_row(name, [*measured, number(of_set.contrasts[place])]))
    if len(of_set.names) > 2:
        lines.append(_row("between others", [number(each.between().mean()) for each in of_set.measures]))
        if len(of_set.names) <= MOST_IN_TABLES:
            lines += [line for each in of_set.measures for line in ("", *_pairs(of_set.names, each))]
    return "\n".join(lines)


def _pairs(names: list[str], measured: Measure) -> list[str]:
    """The table of all pairs."""
    short = [name.split()[0] for name in names]
    lines = [_row(f"{measured.name}, pairs", short)]
    return lines + [
        _row(name, [number(value) for value in row]) for name, row in zip(names, measured.table, strict=True)
    ]


def _row(name: str, cells: list[str]) -> str:
    return f"{name:<{_NAME}}" + "".join(f"{cell:>{_CELL}}" for cell in cells)
