"""The selection of blocks by text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from style_aligned.shared_attention.layers import LayerSelection, describe

blocks = st.tuples(st.sampled_from(["input", "middle", "output"]), st.integers(0, 30))


@given(blocks)
def test_all_selects_every_block_and_empty_leaves_the_choice_to_the_family(block):
    assert block in LayerSelection.parse("all")
    assert LayerSelection.parse("middle, ALL").is_all
    assert block not in LayerSelection.parse(" ")
    assert block in LayerSelection.parse(" ").or_default("all")
    assert LayerSelection.parse("").or_default("single") == LayerSelection.parse("single")
    assert LayerSelection.parse("double.3").or_default("single") == LayerSelection.parse("double.3")


def test_ranges_single_blocks_and_whole_sections():
    selection = LayerSelection.parse("input.4-8, Middle; output.0-2 output.5")
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
    selection = LayerSelection.parse(f"{section}.{first}-{first + length}")
    assert (section, first) in selection
    assert (section, first + length) in selection
    assert (section, first + length + 1) not in selection
    assert first == 0 or (section, first - 1) not in selection


@pytest.mark.parametrize(
    "token",
    ["inptu.4", "up.1", "input.", "input.a", "input.4-", "4-8", "input4", "input.-1", "input.4-8-9", "all.3", "."],
)
def test_a_bad_token_is_named(token):
    with pytest.raises(ValueError, match="is not a block") as caught:
        LayerSelection.parse(f"middle, {token}")
    assert repr(token) in str(caught.value)


def test_a_backward_range_is_named_and_turned_round():
    with pytest.raises(ValueError, match=r"'input\.8-4' runs backwards; write input\.4-8"):
        LayerSelection.parse("input.8-4")


LAYERS = [*(("input", n) for n in (1, 2, 4, 5)), ("middle", 0), *(("output", n) for n in range(9))]


def test_words_that_name_nothing_are_named_with_what_there_is():
    with pytest.raises(ValueError, match="blocks") as caught:
        LayerSelection.parse("middle, output.40-60, input.99, single").require_in(LAYERS)
    assert str(caught.value) == (
        "blocks: 'output.40-60', 'input.99' and 'single' name nothing that can share in this model. "
        "It has input.1-2, input.4-5, middle.0, output.0-8; write all for every one of them."
    )


@pytest.mark.parametrize("text", ["", "all", "input.0-99", "output.8", "middle, input.4"])
def test_words_that_name_some_layer_pass(text: str):
    LayerSelection.parse(text).require_in(LAYERS)


def test_layers_are_described_as_they_are_named():
    described = ", ".join(describe(LAYERS))
    assert {layer for layer in LAYERS if layer in LayerSelection.parse(described)} == set(LAYERS)
    assert ("input", 3) not in LayerSelection.parse(described)
