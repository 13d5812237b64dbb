"""Broken icons are broken: nothing of them is so like a shape that a viewer would name it."""

import numpy as np
import pytest

from toy import broken, icons


def test_likeness_is_intersection_over_union_wherever_it_lies():
    square = np.zeros((icons.SIZE, icons.SIZE), np.float32)
    square[4:12, 4:12] = 1
    assert broken.likeness(square, square) == pytest.approx(1)
    assert broken.likeness(np.roll(square, (7, 9), (0, 1)), square) == pytest.approx(1)
    half = square.copy()
    half[8:] = 0
    assert broken.likeness(half, square) == pytest.approx(0.5)
    assert broken.likeness(np.zeros_like(square), square) == 0


@pytest.mark.parametrize("kind", list(broken.OF_SHAPES))
def test_little_enough_is_left_of_a_shape_and_enough_to_show_a_style(kind: str, monkeypatch):
    placed = []
    draw = icons.place
    monkeypatch.setattr(icons, "place", lambda *asked: placed.append(draw(*asked)) or placed[-1])
    rng = np.random.default_rng(0)
    for _ in range(10):
        found = broken.broken_shape(rng, kind)
        assert any(broken.LEAST_LEFT < broken.likeness(found, shape) < broken.MOST_LEFT for shape in placed[-9:])


def test_a_few_tokens_moved_leave_the_most_of_a_picture():
    rng = np.random.default_rng(3)
    picture = icons.draw(rng, "star", icons.random_style(rng))
    tokens = [
        (broken.scuffed(rng, picture) != picture).any(-1).reshape(8, 4, 8, 4).any((1, 3)).sum() for _ in range(20)
    ]
    assert 0 < max(tokens) <= 4


def test_the_same_seed_breaks_the_same_icons():
    first, again, other = (broken.dataset(9, seed) for seed in (1, 1, 2))
    assert (first.images == again.images).all()
    assert (first.images != other.images).any()
    assert len(first.styles) == len(first.coverages) == 9


def test_nothing_covers_an_empty_backdrop():
    found = broken.dataset(3, 0, [broken.EMPTY])
    assert not found.coverages.any()
    assert found.styles == [None] * 3
