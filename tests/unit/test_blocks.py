"""The selection of blocks by text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from style_aligned.shared_attention.blocks import BlockSelection

blocks = st.tuples(st.sampled_from(["input", "middle", "output"]), st.integers(0, 30))


@given(blocks)
def test_empty_selects_all(block):
    assert block in BlockSelection.parse(" ")
    assert BlockSelection.parse("").is_all


def test_ranges_single_blocks_and_whole_sections():
    selection = BlockSelection.parse("input.4-8, Middle; output.0-2 output.5")
    selected = {(s, n) for s in ("input", "middle", "output") for n in range(12) if (s, n) in selection}
    assert selected == {
        *(("input", n) for n in range(4, 9)),
        *(("middle", n) for n in range(12)),
        *(("output", n) for n in (0, 1, 2, 5)),
    }
    assert not selection.is_all


@given(blocks, st.integers(0, 20))
def test_a_range_includes_both_ends(block, length):
    section, first = block
    selection = BlockSelection.parse(f"{section}.{first}-{first + length}")
    assert (section, first) in selection
    assert (section, first + length) in selection
    assert (section, first + length + 1) not in selection
    assert first == 0 or (section, first - 1) not in selection


@pytest.mark.parametrize(
    "token", ["inptu.4", "input.", "input.a", "input.4-", "4-8", "input4", "input.-1", "up.1", "input.4-8-9"]
)
def test_a_bad_token_is_named(token):
    with pytest.raises(ValueError, match="is not a block") as caught:
        BlockSelection.parse(f"middle, {token}")
    assert repr(token) in str(caught.value)


def test_a_backward_range_is_named_and_turned_round():
    with pytest.raises(ValueError, match=r"'input\.8-4' runs backwards; write input\.4-8"):
        BlockSelection.parse("input.8-4")
