"""References and targets in a model call."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import Layout
from style_aligned.shared_attention.rows import Rows, find_rows

layouts = st.integers(2, 5).flatmap(
    lambda images: st.builds(Rows, st.integers(1, 4), st.just(images), st.integers(0, images - 1))
)


@given(layouts)
def test_split_by_role_and_join_again(rows: Rows):
    x = torch.arange(rows.count * 6).view(rows.count, 3, 2)
    assert torch.equal(rows.join(rows.references(x), rows.targets(x)), x)


@given(layouts)
def test_each_chunk_has_its_own_reference(rows: Rows):
    x = torch.arange(rows.count)
    pairs = Layout(rows.chunks, rows.images, rows.reference).pairs()
    assert rows.references(x).flatten().tolist() == [row for row, reference in pairs if row == reference]
    assert rows.targets(x).flatten().tolist() == [row for row, reference in pairs if row != reference]


@pytest.mark.parametrize(
    ("count", "chunks", "window", "expected"),
    [
        (8, 2, None, Rows(2, 4)),
        (3, 1, None, Rows(1, 3)),
        (9, 3, None, Rows(3, 3)),
        (6, 2, [0, 1, 2], Rows(2, 3)),
        (6, 2, [6, 7, 0], Rows(2, 3, 2)),
    ],
)
def test_rows_of_a_call(count, chunks, window, expected):
    assert find_rows(count, chunks, window) == expected


@pytest.mark.parametrize(
    ("count", "chunks", "window"),
    [
        (2, 2, None),  # one image a chunk
        (1, 1, None),
        (7, 2, None),  # not chunks of equal length
        (4, 0, None),  # the host did not say
        (6, 2, [3, 4, 5]),  # a window without the reference
        (6, 2, [0, 1]),  # a window that is not this call's
    ],
)
def test_nothing_to_share(count, chunks, window):
    assert find_rows(count, chunks, window) is None
