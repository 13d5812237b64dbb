"""Lines of unlike length, from their encodings to the latents: exact, and at a moderate number of tokens."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from comfy_extras.nodes_context_windows import ContextWindowsManualNode
from oracle_model import OracleModel
from oracles import relative_error
from sampling import noise, sample, shared
from style_aligned.shared_attention.conditioning import batch_conditionings
from tiny_models import conditioning, tiny_model
from torch import Tensor

CHUNK = 77
COUNTS = [(1, 2, 3, 5, 7), (7, 5, 1, 3), (1, 12, 16)]
"""Chunks of the lines: one encoding for all would have 210, 105 and 48 chunks. The host would join the last two."""


def lines(counts: tuple[int, ...]) -> list[list]:
    return [conditioning(1, CHUNK * count, seed=20 + row) for row, count in enumerate(counts)]


def apart(model: Any, counts: tuple[int, ...], rows: tuple[int, ...], **sampling: Any) -> Tensor:
    """Those rows of the set, made in a batch of their own, in which all tokens are repeated to a common length."""
    entries = [lines(counts)[row][0] for row in rows]
    length = math.lcm(*(embeddings.shape[1] for embeddings, _ in entries))
    embeddings = torch.cat([each.repeat(1, length // each.shape[1], 1) for each, _ in entries])
    pooled = torch.cat([options["pooled_output"] for _, options in entries])
    positive = [[embeddings, {"pooled_output": pooled}]]
    return sample(model, positive=positive, initial=noise(len(counts))[list(rows)], **sampling)


def tokens_of_calls(model: Any) -> list[tuple[int, int]]:
    """Fills up with the rows and tokens of each model call."""
    seen: list[tuple[int, int]] = []

    def wrapper(apply_model: Any, arguments: dict[str, Any]) -> Tensor:
        seen.append(tuple(arguments["c"]["c_crossattn"].shape[:2]))
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    model.set_model_unet_function_wrapper(wrapper)
    return seen


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
@pytest.mark.parametrize("counts", COUNTS, ids=str)
def test_unshared_every_line_is_what_it_is_alone(family: str, counts: tuple[int, ...]):
    model = tiny_model(family)
    together = sample(model, positive=batch_conditionings(lines(counts)), initial=noise(len(counts)), steps=1)
    for row in range(len(counts)):
        assert relative_error(together[row], apart(model, counts, (row,), steps=1)[0]) < 1e-5


@pytest.mark.parametrize("cfg", [1.0, 4.0])
@pytest.mark.parametrize("counts", COUNTS, ids=str)
def test_shared_every_line_is_what_the_equations_say(counts: tuple[int, ...], cfg: float):
    options = {"shift": 0.5}
    sharing = shared(tiny_model("sd15"), **options, share_group_norm=True)
    sampling = {"steps": 1, "cfg": cfg}
    together = sample(sharing, positive=batch_conditionings(lines(counts)), initial=noise(len(counts)), **sampling)
    oracle = OracleModel("sd15", options, share_group_norm=True).patcher
    for target in range(1, len(counts)):
        reference, expected = apart(oracle, counts, (0, target), **sampling)
        assert relative_error(together[0], reference) < 1e-5
        assert relative_error(together[target], expected) < 1e-5


@pytest.mark.usefixtures("split_calls")
def test_in_separate_calls_the_same():
    counts, model = COUNTS[0], tiny_model("sd15")
    together = sample(shared(model), positive=batch_conditionings(lines(counts)), initial=noise(5), steps=2)
    _, expected = apart(shared(model), counts, (0, 4), steps=2)
    assert relative_error(together[4], expected) < 1e-4


@pytest.mark.parametrize("negative", [1, 4])
@pytest.mark.parametrize("counts", COUNTS, ids=str)
def test_the_host_makes_no_call_longer(counts: tuple[int, ...], negative: int):
    """It repeats what it joins to a common multiple: the positive's entries, and those of the negative."""
    model = tiny_model("sd15")
    seen = tokens_of_calls(model)
    positive, bad = batch_conditionings(lines(counts)), conditioning(1, CHUNK * negative, seed=2)
    sample(model, positive=positive, negative=bad, initial=noise(len(counts)), steps=1)
    assert len(positive) > 1
    assert sorted(seen) == sorted((len(counts), entry[0].shape[1]) for entry in [*positive, *bad])


def test_lines_of_common_length_share_the_call_of_the_negative():
    model = tiny_model("sd15")
    seen = tokens_of_calls(model)
    positive, negative = batch_conditionings(lines((1, 2, 1))), conditioning(1, CHUNK, seed=2)
    sample(model, positive=positive, negative=negative, initial=noise(3), steps=1)
    assert seen == [(6, 2 * CHUNK)]


def test_a_batch_of_another_size_than_the_lines():
    """Fewer images have the first rows, twice as many have them twice; what cannot be laid over them is refused."""
    model, positive = tiny_model("sd15"), batch_conditionings(lines(COUNTS[0]))
    all_five = sample(model, positive=positive, initial=noise(5), steps=1)
    fewer = sample(model, positive=positive, initial=noise(4), steps=1)
    twice = sample(model, positive=positive, initial=noise(5).repeat(2, 1, 1, 1), steps=1)
    assert relative_error(fewer, all_five[:4]) < 1e-5
    assert relative_error(twice, all_five.repeat(2, 1, 1, 1)) < 1e-5
    with pytest.raises(ValueError, match="has 6 images, Style Aligned: Prompts 5 rows"):
        sample(model, positive=positive, initial=noise(6), steps=1)


def test_in_windows_over_the_batch_every_line_is_what_it_is_without():
    model, positive = tiny_model("sd15"), batch_conditionings(lines(COUNTS[0]))
    arguments = (2, 1, "standard_static", 1, False, "pyramid", 0, False)
    windows = ContextWindowsManualNode.execute(model, *arguments).result[0]
    together = sample(model, positive=positive, initial=noise(5), steps=1)
    assert relative_error(sample(windows, positive=positive, initial=noise(5), steps=1), together) < 1e-5
