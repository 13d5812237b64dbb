"""Which prompts of unlike length are encoded side by side."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from style_aligned.shared_attention.conditioning import batch_conditionings, first_row
from style_aligned.shared_attention.token_counts import CALL, common_encodings

CHUNK = 77


def encodings(*chunks: int) -> list[tuple[float, tuple[int, ...]]]:
    return [(each.tokens / CHUNK, each.rows) for each in common_encodings([CHUNK * count for count in chunks])]


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ((1, 1, 1), [(1, (0, 1, 2))]),
        ((1, 2, 3), [(6, (0, 1, 2))]),
        ((2, 4, 8, 1), [(8, (0, 1, 2, 3))]),
        ((1, 2, 3, 5, 7), [(6, (0, 1, 2)), (5, (3,)), (7, (4,))]),
        ((5, 7, 5, 1), [(35, (0, 1, 2, 3))]),
    ],
)
def test_lengths_whose_multiple_is_small_go_together(chunks: tuple[int, ...], expected: list):
    assert encodings(*chunks) == expected


@given(st.lists(st.integers(1, 700), min_size=1, max_size=7))
def test_every_row_is_encoded_once_and_tokens_are_bounded(lengths: list[int]):
    """Of any lengths: not all text encoders count in chunks."""
    found = common_encodings(lengths)
    assert sorted(row for each in found for row in each.rows) == list(range(len(lengths)))
    for each in found:
        assert all(each.tokens % lengths[row] == 0 for row in (0, *each.rows))
    one_a_length = {math.lcm(lengths[0], length) for length in lengths}
    assert sum(each.tokens for each in found) <= sum(one_a_length) + CALL * (len(one_a_length) - len(found))


def rows(*tokens: int, **options) -> list:
    generator = torch.Generator().manual_seed(sum(tokens))
    return [
        [[torch.randn(1, count, 4, generator=generator), {"pooled_output": torch.randn(1, 2), **options}]]
        for count in tokens
    ]


COPRIME = (2 * CHUNK, 5 * CHUNK, 9 * CHUNK, 7 * CHUNK)


def test_entries_cover_each_row_once_with_its_own_prompt():
    prompts = rows(*COPRIME)
    entries = batch_conditionings(prompts)
    assert len(entries) > 1
    masks = [options["mask"] for _, options in entries]
    assert all(mask.shape == (4, 8, 8) for mask in masks)
    assert torch.equal(sum(masks), torch.ones(4, 8, 8))
    for embeddings, options in entries:
        assert torch.equal(options["pooled_output"], torch.cat([alone[1]["pooled_output"] for [alone] in prompts]))
        for row in {0, *options["mask"].flatten(1).any(1).nonzero().flatten().tolist()}:
            [[alone, _]] = prompts[row]
            assert torch.equal(embeddings[row : row + 1], alone.repeat(1, embeddings.shape[1] // alone.shape[1], 1))


def test_a_mask_that_all_lines_have_is_kept():
    mask = torch.rand(1, 6, 5)
    entries = batch_conditionings(rows(*COPRIME, mask=mask))
    assert torch.equal(sum(options["mask"] for _, options in entries), mask.expand(4, -1, -1))
    assert torch.equal(first_row(entries)[0][1]["mask"], mask)


@pytest.mark.parametrize("tokens", [(CHUNK, 2 * CHUNK), (2 * CHUNK, 3 * CHUNK), COPRIME, (5, 7, 1999)], ids=str)
def test_the_first_row_is_the_first_prompt_as_it_was(tokens: tuple[int, ...]):
    prompts = rows(*tokens, width=64)
    [[embeddings, options]] = first_row(batch_conditionings(prompts))
    [[alone, own]] = prompts[0]
    assert torch.equal(embeddings, alone)
    assert options.keys() == own.keys()
    assert torch.equal(options["pooled_output"], own["pooled_output"])


def test_the_first_row_keeps_what_other_nodes_have_added():
    mask, prompts = torch.rand(1, 6, 5), rows(*COPRIME)
    masked = [[embeddings, {**options, "mask": mask}] for embeddings, options in batch_conditionings(prompts)]
    [[embeddings, options]] = first_row(masked)
    assert torch.equal(embeddings, prompts[0][0][0])
    assert options["mask"] is mask


def test_the_first_row_of_embeddings_that_another_node_has_changed():
    [[embeddings, options]] = batch_conditionings(rows(CHUNK, 2 * CHUNK))
    changed = torch.cat([embeddings, torch.zeros(2, CHUNK, 4)], dim=1)
    [[first, _]] = first_row([[changed, options]])
    assert torch.equal(first, changed[:1])
