"""Which groups of a graph stand in which column, so that the graph is seen as large as can be.

A column is filled from the top with whole groups; a group too high for one has some of its own. Groups whose nodes
feed others stand before them. All lengths are in the graph's units.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

WINDOW = 1280, 800
FITTED, PADDING = 0.75, 10
"""How a browser fits a graph: with `PADDING` around it, into this part of the window."""
CLEAR = 0.7
"""The part of the window's height that leaves the titles of the groups below the menu, which lies on the graph."""
NODE_TITLE, NODE_GAP = 30, 12
GROUP_TITLE, GROUP_PAD, GROUP_GAP = 40, 8, 10
COLUMN_STEP = 2 * GROUP_PAD + GROUP_GAP
"""From the nodes of a column to those of the next."""
WIDTHS = 240, 400
"""Of a column's nodes: what most need at least, and what is enough."""
MOST_COLUMNS_OF_A_GROUP = 3
PER_EXCHANGE = 0.02
"""What a zoom has to gain for two groups to change places."""


@dataclass(frozen=True)
class Box:
    """A node: the room that it takes below its title, and how wide it is at least."""

    key: int
    room: float
    width: float = 0.0


Boxes = tuple[Box, ...]
Column = tuple[tuple[int, Boxes], ...]
"""From the top: a group's place among the given ones, and those of its nodes that stand here."""


@dataclass(frozen=True)
class Arrangement:
    columns: tuple[Column, ...]
    widths: tuple[float, ...]
    height: float
    zoom: float
    exchanges: int

    @property
    def score(self) -> float:
        return self.zoom - PER_EXCHANGE * self.exchanges

    @property
    def width(self) -> float:
        return sum(self.widths) + COLUMN_STEP * (len(self.widths) - 1)


def arrange(groups: Sequence[Boxes], feeds: frozenset[tuple[int, int]], below: float, enough: float) -> Arrangement:
    """The best arrangement of the groups above a row that is `below` high: of those with `enough` zoom, if any are."""
    found = (
        _arrangement(columns, order, below, enough)
        for order in orders(len(groups), feeds)
        for columns in _columns(tuple((number, groups[number]) for number in order))
    )
    return max(found, key=lambda arrangement: (min(arrangement.zoom, enough), arrangement.score))


@functools.cache
def orders(number: int, feeds: frozenset[tuple[int, int]]) -> list[tuple[int, ...]]:
    """All orders in which each group stands behind those that feed it; their own, where groups feed each other."""
    valid = [
        order
        for order in itertools.permutations(range(number))
        if all(order.index(source) < order.index(target) for source, target in feeds)
    ]
    return valid or [tuple(range(number))]


def _columns(groups: Column) -> Iterator[tuple[Column, ...]]:
    """Every way to put the groups into columns in their order."""
    if not groups:
        yield ()
        return
    for end in range(1, len(groups) + 1):
        yield from ((groups[:end], *rest) for rest in _columns(groups[end:]))
    (number, boxes), *_ = groups
    for count in range(2, min(MOST_COLUMNS_OF_A_GROUP, len(boxes)) + 1):
        own = tuple(((number, part),) for part in split(boxes, count))
        yield from ((*own, *rest) for rest in _columns(groups[1:]))


@functools.cache
def split(boxes: Boxes, count: int) -> tuple[Boxes, ...]:
    """The boxes in `count` parts, in their order, the highest as low as can be."""
    cuts = itertools.combinations(range(1, len(boxes)), count - 1)
    parts = (tuple(boxes[i:j] for i, j in itertools.pairwise((0, *cut, len(boxes)))) for cut in cuts)
    return min(parts, key=lambda candidate: max(map(height_of_nodes, candidate)))


@functools.cache
def height_of_nodes(boxes: Boxes) -> float:
    """From the top of the first title to the end of the last node's room."""
    return sum(NODE_TITLE + box.room for box in boxes) + NODE_GAP * (len(boxes) - 1)


@functools.cache
def height_of_column(column: Column) -> float:
    """From the top of the first group's box to the end of the last one's."""
    groups = sum(GROUP_TITLE + height_of_nodes(boxes) + GROUP_PAD for _, boxes in column)
    return groups + GROUP_GAP * (len(column) - 1)


def _arrangement(columns: tuple[Column, ...], order: Sequence[int], below: float, enough: float) -> Arrangement:
    height = max(map(height_of_column, columns)) - GROUP_TITLE + below
    least = [max([WIDTHS[0], *(box.width for _, boxes in column for box in boxes)]) for column in columns]
    gaps = COLUMN_STEP * (len(columns) - 1)
    clear = max(CLEAR * WINDOW[1] / (height + 2 * PADDING), enough)
    usual = min(level(least, FITTED * WINDOW[0] / clear - 2 * PADDING - gaps), WIDTHS[1])
    widths = tuple(float(int(max(usual, width))) for width in least)
    extent = sum(widths) + gaps, height
    zoom = min(FITTED * side / (length + 2 * PADDING) for side, length in zip(WINDOW, extent, strict=True))
    exchanges = sum(one > other for one, other in itertools.combinations(order, 2))
    return Arrangement(columns, widths, height, zoom, exchanges)


def level(least: Sequence[float], total: float) -> float:
    """The width for which all columns have that `total`, where some need more than others at least."""
    narrower = sorted(least)
    while narrower[-1] > total / len(narrower) and len(narrower) > 1:
        total -= narrower.pop()
    return total / len(narrower)
