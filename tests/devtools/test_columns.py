"""Where groups of a graph stand: computed again by hand for a few of them."""

from __future__ import annotations

import pytest

from devtools.pictures.columns import (
    COLUMN_STEP,
    GROUP_GAP,
    GROUP_PAD,
    GROUP_TITLE,
    NODE_GAP,
    NODE_TITLE,
    Box,
    arrange,
    height_of_column,
    level,
    orders,
    split,
)

ENOUGH = 0.5
NONE: frozenset[tuple[int, int]] = frozenset()


def boxes(*rooms: float) -> tuple[Box, ...]:
    return tuple(Box(key, room) for key, room in enumerate(rooms))


def places(arrangement) -> list[list[int]]:
    return [[number for number, _ in column] for column in arrangement.columns]


def test_a_column_is_as_high_as_what_stands_in_it():
    column = ((0, boxes(100, 50)), (1, boxes(10)))
    first = GROUP_TITLE + NODE_TITLE + 100 + NODE_GAP + NODE_TITLE + 50 + GROUP_PAD
    assert height_of_column(column) == first + GROUP_GAP + GROUP_TITLE + NODE_TITLE + 10 + GROUP_PAD


def test_small_groups_share_a_column_and_large_ones_do_not():
    assert places(arrange([boxes(100), boxes(300), boxes(500), boxes(450)], NONE, 0, ENOUGH)) == [[0, 1], [2], [3]]


@pytest.mark.thorough
def test_groups_change_places_where_much_is_gained():
    """The small one and the next are too high together; seven columns are wide."""
    groups = [boxes(200), boxes(700), boxes(300), *[boxes(700)] * 4]
    free = arrange(groups, NONE, 0, ENOUGH)
    assert [0, 2] in places(free)
    assert free.exchanges == 1
    bound = arrange(groups, frozenset({(0, 1), (1, 2), (2, 3)}), 0, ENOUGH)
    assert bound.exchanges == 0
    assert bound.zoom < free.zoom


def test_a_group_too_high_for_one_column_has_several():
    assert places(arrange([boxes(600, 600), boxes(100)], NONE, 0, ENOUGH)) == [[0], [0], [1]]


def test_the_highest_part_is_as_low_as_can_be():
    assert [[box.room for box in part] for part in split(boxes(100, 300, 200, 200), 2)] == [[100, 300], [200, 200]]


def test_columns_are_as_wide_together_as_is_given():
    arrangement = arrange([boxes(500), (Box(0, 500, 380.0),), boxes(500)], NONE, 0, ENOUGH)
    assert arrangement.widths[1] >= 380
    assert arrangement.width == sum(arrangement.widths) + 2 * COLUMN_STEP
    assert level([240, 240, 380], 900) == pytest.approx(260)
    assert level([240, 240, 380], 1200) == pytest.approx(400)


def test_orders_keep_what_feeds_before_what_is_fed():
    assert orders(3, frozenset({(0, 1), (0, 2)})) == [(0, 1, 2), (0, 2, 1)]
    assert orders(2, frozenset({(0, 1), (1, 0)})) == [(0, 1)]
