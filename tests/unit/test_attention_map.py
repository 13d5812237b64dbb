"""Where targets look, against softmax attention with all its logits in float64."""

from __future__ import annotations

import math

import pytest
import torch
from attention import SoftmaxAttention
from style_aligned.shared_attention.attending import Extension, Projections
from style_aligned.shared_attention.attention_map.looking import look
from style_aligned.shared_attention.mass import masses
from style_aligned.shared_attention.places import Places
from torch import Tensor

CHUNKS, TARGETS, HEADS, CHANNELS = 2, 2, 3, 8
GRID, REFERENCE = (4, 6), (3, 5)


def tensors(count: int, images: int, tokens: int, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (count, CHUNKS, images, tokens, HEADS * CHANNELS)
    return list(1.5 * torch.randn(shape, generator=generator, dtype=torch.float64))


def extension(
    grid: tuple[int, int], seed: int, bias: float, counts: Tensor | None = None, number: int = 0
) -> Extension:
    key, value = tensors(2, 1, grid[0] * grid[1], seed)
    return Extension(key, value, bias, counts, Places.of((1, *grid), CHUNKS), number)


def probabilities(own: Projections, references: list[Extension], scale: float, mask: Tensor | None) -> Tensor:
    """Of all tokens, own ones first: (chunks, targets, heads, queries, tokens)."""
    out = torch.zeros(CHUNKS, TARGETS, HEADS, own.query.shape[2], 0, dtype=torch.float64)
    query = own.query.unflatten(-1, (HEADS, CHANNELS)).transpose(2, 3)
    for key, added in [(own.key, 0.0 if mask is None else mask.view(CHUNKS, TARGETS, 1, 1, -1))] + [
        (scale * each.key, each.bias + (0.0 if each.counts is None else each.counts.log())) for each in references
    ]:
        keys = key.unflatten(-1, (HEADS, CHANNELS)).transpose(2, 3)
        out = torch.cat([out, query @ keys.transpose(-1, -2) / math.sqrt(CHANNELS) + added], -1)
    return out.softmax(-1)


COUNTS = torch.linspace(0.1, 1.0, REFERENCE[0] * REFERENCE[1], dtype=torch.float64)
ONE = [extension(REFERENCE, 3, 0.7)]
CASES = {
    "one": ONE,
    "counted": [extension(REFERENCE, 3, -1.0, COUNTS)],
    "very strong": [extension(REFERENCE, 3, 9.0)],
    "two": [extension(REFERENCE, 3, 0.2, COUNTS), extension((4, 4), 5, -0.4, number=1)],
}


@pytest.mark.parametrize("takes_bias", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_the_mass_of_parts(case: str, takes_bias: bool) -> None:
    own, references = Projections(*tensors(3, TARGETS, 24, seed=1)), CASES[case]
    parts = [torch.rand(each.key.shape[2], 3, generator=torch.Generator().manual_seed(4)) for each in references]
    parts = [part.double() / part.sum(1, keepdim=True) for part in parts]
    actual = masses(own, references, parts, 0.8, SoftmaxAttention(HEADS, takes_bias), heads=HEADS)
    dense = probabilities(own, references, 0.8, None)
    start, expected = 24, []
    for each, part in zip(references, parts, strict=True):
        expected.append(dense[..., start : start + each.key.shape[2]] @ part)
        start += each.key.shape[2]
    assert torch.allclose(actual, torch.cat(expected, -1), atol=1e-12)
    conserved = actual.sum(-1) + dense[..., :24].sum(-1)
    assert torch.allclose(conserved, torch.ones_like(conserved), atol=1e-12)


def test_under_a_mask_of_the_models_own() -> None:
    own = Projections(*tensors(3, TARGETS, 24, seed=1))
    mask = torch.zeros(CHUNKS * TARGETS, 1, 1, 24, dtype=torch.float64)
    mask[1::2, ..., 20:] = -1e9
    parts = [torch.ones(15, 1, dtype=torch.float64)]
    actual = masses(own, ONE, parts, 1.0, SoftmaxAttention(HEADS), mask, HEADS)
    assert torch.allclose(actual, probabilities(own, ONE, 1.0, mask)[..., 24:].sum(-1, keepdim=True), atol=1e-12)


def test_heads_that_are_apart() -> None:
    own, [one] = Projections(*tensors(3, TARGETS, 24, seed=1)), ONE

    def apart(x: Tensor) -> Tensor:
        return x.unflatten(-1, (HEADS, CHANNELS)).transpose(2, 3)

    class Apart:
        takes_bias = True

        def __call__(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
            return torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)

    parts = [one.places.parts(2, 3).double()]
    of_apart = masses(Projections(*map(apart, own)), [one._replace(key=apart(one.key), value=apart(one.value))],
                      parts, 1.0, Apart())  # fmt: skip
    beside = masses(own, ONE, parts, 1.0, SoftmaxAttention(HEADS), heads=HEADS)
    assert torch.allclose(of_apart, beside, atol=1e-12)


def test_more_parts_than_there_is_room_for() -> None:
    own = Projections(*tensors(3, TARGETS, 24, seed=1))
    with pytest.raises(ValueError, match="room for 7 parts of a reference"):
        masses(own, ONE, [torch.ones(15, 8)], 1.0, SoftmaxAttention(HEADS), heads=HEADS)


def test_more_references_than_there_is_room_for_at_once() -> None:
    own = Projections(*tensors(3, TARGETS, 24, seed=1))
    three = [extension(REFERENCE, seed, 0.1 * seed, number=seed) for seed in range(3)]
    parts = [each.places.parts(2, 2).double() for each in three]
    attend = SoftmaxAttention(HEADS)
    actual = masses(own, three, parts, 1.0, attend, heads=HEADS)
    dense = probabilities(own, three, 1.0, None)[..., 24:]
    expected = torch.cat([each @ part for each, part in zip(dense.split(15, -1), parts, strict=True)], -1)
    assert torch.allclose(actual, expected, atol=1e-12)
    assert attend.logits == 3 * CHUNKS * TARGETS * 24 * (24 + 3 * 15)


@pytest.mark.parametrize("case", CASES)
def test_what_a_layer_sees(case: str) -> None:
    own, references = Projections(*tensors(3, TARGETS, 24, seed=1)), CASES[case]
    seen = look(own, references, (1, *GRID), 1.0, SoftmaxAttention(HEADS), heads=HEADS)
    dense, start = probabilities(own, references, 1.0, None).mean((0, 2)), 24
    for each, found in zip(references, seen, strict=True):
        of_each = dense[..., start : start + each.key.shape[2]].unflatten(-1, (each.places.height, -1))
        start += each.key.shape[2]
        assert found.reference == each.reference
        assert torch.allclose(found.mass, of_each.sum((-1, -2)).unflatten(1, GRID), atol=1e-12)
        rows, columns = found.places.shape[-2:]
        assert rows * columns <= (CHANNELS - 1) // len(references)
        cells = [[middles(side, cells) == cell for cell in range(cells)]
                 for side, cells in zip(of_each.shape[-2:], (rows, columns), strict=True)]  # fmt: skip
        for y, of_row in enumerate(cells[0]):
            for x, of_column in enumerate(cells[1]):
                expected = of_each[..., of_row, :][..., of_column].sum((-1, -2)).unflatten(1, GRID)
                assert torch.allclose(found.places[..., y, x].double(), expected, atol=1e-3)


def middles(side: int, cells: int) -> Tensor:
    """Which of the cells the middle of each token is in."""
    return ((torch.arange(side) + 0.5) / side * cells).floor().long()


def test_of_a_large_picture_some_tokens_are_asked() -> None:
    own = Projections(*tensors(3, TARGETS, 80 * 4, seed=1))
    seen = look(own, ONE, (1, 80, 4), 1.0, SoftmaxAttention(HEADS), heads=HEADS)
    dense = probabilities(own, ONE, 1.0, None).mean((0, 2))[..., 320:].sum(-1).unflatten(1, (80, 4))
    assert torch.allclose(seen[0].mass, dense[:, 1::3, 1::3], atol=1e-12)
    assert seen[0].places.shape[1:3] == (16, 1)


def test_outside_of_a_target_mask_nothing_is_taken() -> None:
    own, mask = Projections(*tensors(3, TARGETS, 24, seed=1)), torch.linspace(0, 1, 24).expand(1, -1)
    free = look(own, ONE, (1, *GRID), 1.0, SoftmaxAttention(HEADS), heads=HEADS)
    [seen] = look(own, ONE, (1, *GRID), 1.0, SoftmaxAttention(HEADS), heads=HEADS, target_mask=mask)
    assert torch.allclose(seen.mass, free[0].mass * mask.view(GRID), atol=1e-12)


def test_tokens_whose_places_are_unknown() -> None:
    own, unplaced = Projections(*tensors(3, TARGETS, 24, seed=1)), [ONE[0]._replace(places=None)]
    [seen] = look(own, unplaced, (1, *GRID), 1.0, SoftmaxAttention(HEADS), heads=HEADS)
    assert seen.places.shape[-2:] == (1, 1)
    assert torch.allclose(seen.places[..., 0, 0].double(), seen.mass, atol=1e-3)


@pytest.mark.parametrize(("grid", "at_most", "expected"), [
    ((8, 8), 31, (5, 6)), ((64, 64), 63, (7, 9)), ((4, 40), 30, (2, 15)), ((40, 4), 30, (15, 2)), ((2, 2), 63, (2, 2)),
    ((1, 1), 1, (1, 1)), ((9, 7), 1, (1, 1)),
])  # fmt: skip
def test_regions(grid: tuple[int, int], at_most: int, expected: tuple[int, int]) -> None:
    assert Places.of((1, *grid), 1).regions(at_most) == expected
