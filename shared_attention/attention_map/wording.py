"""Where targets look, in numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from ..layers import LayerKey
from .averaging import Averages
from .looking import FINEST
from .showing import Shown

_NAME, _CELL = 22, 12
_ACROSS, _DOWN = ("left", "middle", "right"), ("top", "middle", "bottom")


def summary(averages: Averages) -> str:
    """What the numbers are means of."""
    layers, levels = len(averages.by_layer), ", ".join(f"{each:.0%}" for each in averages.by_progress)
    return (
        f"Shares of the attention, means over the heads of {layers} {'block' if layers == 1 else 'blocks'} and at "
        f"{levels} of the sampling process; the rest is the images' own."
    )


def report(averages: Averages, shown: Shown) -> str:
    """All numbers as text."""
    lines = [summary(averages), "", _row("on the reference", ["mean", "least", "most"])]
    for column in shown.columns:
        mass = column.mass.sum(0)
        lines.append(_row(column.name, [f"{float(each):.1%}" for each in (mass.mean(), mass.min(), mass.max())]))
        if len(column.mass) > 1:
            of_each = [f"{float(each):.1%}" for each in column.mass.mean((1, 2))]
            lines += [_row(f"  reference {place}", [value]) for place, value in enumerate(of_each, 1)]
    lines += ["", f"where {shown.question}"]
    lines += [f"  {column.name}: {_where(column.fields)}" for column in shown.columns]
    lines += ["", *_table("by block", {_called(layer): share for layer, share in averages.by_layer.items()})]
    lines += ["", *_table("by progress", {f"{at:.0%}": share for at, share in averages.by_progress.items()})]
    return "\n".join(lines) + "\n"


def _where(fields: Tensor) -> str:
    """The field that is looked at most, of each reference."""
    parts = []
    for number, each in enumerate(fields, 1):
        place = int(each.argmax())
        y, x = (place // FINEST + 0.5) / FINEST, (place % FINEST + 0.5) / FINEST
        times = float(each.max() / each.mean().clamp_min(1e-12))
        of = f" of reference {number}" if len(fields) > 1 else ""
        parts.append(f"most at x {x:.2f}, y {y:.2f}{of} ({_named(x, y)}), {times:.1f} x as much as evenly")
    return "; ".join(parts)


def _named(x: float, y: float) -> str:
    across, down = _ACROSS[min(2, int(3 * x))], _DOWN[min(2, int(3 * y))]
    return "centre" if across == down == "middle" else f"{down} {across}"


def _table(title: str, shares: Mapping[str, float]) -> list[str]:
    return [title, *(f"  {name:<{_NAME - 2}}{share:>{_CELL}.1%}" for name, share in shares.items())]


def _called(layer: LayerKey) -> str:
    return f"{layer[0]}.{layer[1]}"


def _row(name: str, cells: Sequence[str]) -> str:
    return f"{name:<{_NAME}}" + "".join(f"{cell:>{_CELL}}" for cell in cells)
