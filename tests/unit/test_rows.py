"""References and targets in a model call."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import Layout
from style_aligned.shared_attention.rows import Rows, UnknownRowsError, find_rows, find_targets

layouts = st.integers(2, 5).flatmap(
    lambda images: st.builds(Rows, st.integers(1, 4), st.just(images), st.integers(0, images - 1))
)


@given(layouts)
def test_split_by_role_and_join_again(rows: Rows):
    x = torch.arange(rows.count * 6).view(rows.count, 3, 2)
    assert torch.equal(rows.join(rows.references(x), rows.targets(x)), x)


@given(st.integers(1, 4), st.integers(1, 4))
def test_rows_without_a_reference_are_targets(chunks: int, images: int):
    rows, x = Rows(chunks, images, None), torch.randn(chunks * images, 3)
    assert rows.has_targets
    assert not rows.has_references
    assert rows.references(x).shape == (chunks, 0, 3)
    assert torch.equal(rows.join(rows.references(x), rows.targets(x)), x)


@given(layouts)
def test_each_chunk_has_its_own_reference(rows: Rows):
    x = torch.arange(rows.count)
    pairs = Layout(rows.chunks, rows.images, rows.reference).pairs()
    assert rows.references(x).flatten().tolist() == [row for row, reference in pairs if row == reference]
    assert rows.targets(x).flatten().tolist() == [row for row, reference in pairs if row != reference]


@pytest.mark.parametrize(
    ("count", "chunks", "images", "window", "expected"),
    [
        (8, 2, 4, None, Rows(2, 4)),
        (3, 1, 3, None, Rows(1, 3)),
        (9, 3, 3, None, Rows(3, 3)),
        (6, 2, 8, [0, 1, 2], Rows(2, 3)),
        (6, 2, 8, [6, 7, 0], Rows(2, 3, 2)),
        (2, 2, 1, None, Rows(2, 1)),
        (2, 2, 8, [0], Rows(2, 1)),
    ],
)
def test_rows_of_a_call(count, chunks, images, window, expected):
    assert find_rows(count, chunks, images, window) == expected


def test_a_window_without_the_reference():
    assert find_rows(6, 2, 8, [3, 4, 5]) is None


@pytest.mark.parametrize(
    ("count", "chunks", "images", "window"),
    [
        (7, 2, 3, None),  # not chunks of equal length
        (4, 0, 4, None),  # the host did not say
        (6, 2, 8, [0, 1]),  # a window that is not this call's
        (6, 2, 6, None),  # half of the batch: divisible, and yet not the run's
        (12, 2, 3, None),  # two tiles, and nothing to tell them by
    ],
)
def test_rows_that_are_not_the_runs_are_not_guessed(count, chunks, images, window):
    with pytest.raises(UnknownRowsError, match=f"has {count} rows"):
        find_rows(count, chunks, images, window)


def text(order: list[tuple[int, int, int]], same_prompts: bool = False) -> torch.Tensor:
    """The text of rows (tile, chunk, image): cond (chunk 0) has one a picture, uncond one for all."""
    cond, uncond = torch.randn(9, 4, 2), torch.randn(1, 4, 2)
    return torch.stack([uncond[0] if chunk else cond[0 if same_prompts else image] for _, chunk, image in order])


def order_of(outer: str, tiles: int = 2, chunks: int = 2, images: int = 3) -> list[tuple[int, int, int]]:
    """Rows (tile, chunk, image) with the axes named in `outer` from the slowest to the fastest."""
    sizes = {"t": tiles, "c": chunks, "i": images}
    grids = itertools.product(*(range(sizes[axis]) for axis in outer))
    return [tuple(grid[outer.index(axis)] for axis in "tci") for grid in grids]


@pytest.mark.parametrize("outer", ["tci", "cti"])
@pytest.mark.parametrize("chunks", [1, 2])
def test_tiles_are_told_by_the_text(outer: str, chunks: int):
    order = order_of(outer, chunks=chunks)
    rows = find_rows(len(order), chunks, 3, context=text(order))
    assert rows == Rows(2 * chunks, 3)
    for group in rows.split(torch.tensor(order)):
        assert {tuple(row[:2].tolist()) for row in group} == {tuple(group[0, :2].tolist())}  # of one tile and chunk
        assert group[:, 2].tolist() == [0, 1, 2]


@pytest.mark.parametrize("outer", ["cit", "ict", "itc", "tic"])
def test_tiles_in_another_order_are_refused(outer: str):
    order = order_of(outer)
    with pytest.raises(UnknownRowsError):
        find_rows(len(order), 2, 3, context=text(order))


def test_tiles_of_pictures_with_one_text_are_refused():
    """They could be in any order."""
    order = order_of("tci")
    with pytest.raises(UnknownRowsError):
        find_rows(len(order), 2, 3, context=text(order, same_prompts=True))


TEXTS = torch.tensor([[1.0], [2.0]])[:, None]
"""Of two chunks, (rows, tokens, channels)."""


def test_targets_are_chunks_of_the_batch_or_of_a_window() -> None:
    assert find_targets(6, 2, 3) == Rows(2, 3, None)


def test_tiles_of_targets_go_through_the_chunks() -> None:
    """Tile by tile: cond and uncond of the first, then of the next."""
    assert find_targets(4, 2, 1, TEXTS.repeat(2, 1, 1)) == Rows(4, 1, None)
    assert find_targets(3, 1, 1) == Rows(3, 1, None)


@pytest.mark.parametrize(
    ("count", "chunks", "images", "context"),
    [
        (4, 2, 1, None),  # nobody can tell
        (4, 2, 1, TEXTS.repeat_interleave(2, 0)),  # chunk by chunk
        (4, 2, 1, torch.ones(4, 1, 1)),  # the chunks' texts are alike
        (3, 2, 1, torch.ones(3, 1, 1)),
        (5, 2, 2, None),
        (4, 0, 1, None),
    ],
)
def test_targets_in_another_order_are_unknown(
    count: int, chunks: int, images: int, context: torch.Tensor | None
) -> None:
    with pytest.raises(UnknownRowsError, match=f"{count} rows"):
        find_targets(count, chunks, images, context)
