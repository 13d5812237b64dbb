"""The host's conditioning nodes behind Prompts: every row is what its line alone is behind the same node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.controlnet
import pytest
import torch
from comfy.cldm.cldm import ControlNet
from comfy_extras.nodes_hooks import ConditioningSetDefaultAndCombine
from oracles import relative_error
from sampling import noise, sample
from style_aligned.shared_attention.conditioning import batch_conditionings
from tiny_models import COMMON_UNET, CPU, conditioning, randomise, tiny_model

import nodes

Conditioning = list[list[Any]]
Node = Callable[[Conditioning, list[int]], Conditioning]
"""Applied to the conditioning of the rows with these numbers."""

CHUNK = 77
OF_ONE_LENGTH, OF_COMMON_LENGTH, OF_SEVERAL_CALLS = (1, 1, 1), (1, 2, 1), (1, 2, 3, 5, 7)
OTHER = conditioning(1, CHUNK, seed=99)
MASK = torch.cat([torch.ones(1, 64, 32), torch.zeros(1, 64, 32)], dim=2)
HINTS = torch.rand(5, 64, 64, 3, generator=torch.Generator().manual_seed(3))


def rows_of(counts: tuple[int, ...], seed: int) -> list[Conditioning]:
    return [conditioning(1, CHUNK * count, seed=seed + row) for row, count in enumerate(counts)]


def others(rows: list[int]) -> Conditioning:
    """A second text for each row."""
    return batch_conditionings([rows_of((1,) * 5, seed=60)[row] for row in rows])


@pytest.fixture(scope="module")
def control() -> comfy.controlnet.ControlNet:
    settings = {**COMMON_UNET, "num_heads": 8, "num_head_channels": -1, "transformer_depth_output": None}
    network = ControlNet(**{**settings, "adm_in_channels": None}, hint_channels=3, dtype=torch.float32)
    network.dtype = torch.float32
    randomise(network, seed=5)
    return comfy.controlnet.ControlNet(network, load_device=CPU)


def errors(node: Node, counts: tuple[int, ...]) -> list[float]:
    model, lines = tiny_model("sd15"), rows_of(counts, seed=20)
    rows = list(range(len(counts)))
    together = sample(model, positive=node(batch_conditionings(lines), rows), initial=noise(len(counts)), steps=2)
    alone = [
        sample(model, positive=node(lines[row], [row]), initial=noise(len(counts))[[row]], steps=2) for row in rows
    ]
    return [relative_error(together[row], alone[row][0]) for row in rows]


def default(positive: Conditioning, _: list[int]) -> Conditioning:
    early = nodes.ConditioningSetTimestepRange().set_range(positive, 0.0, 0.5)[0]
    return ConditioningSetDefaultAndCombine().set_default_and_combine(early, OTHER)[0]


def timestep_ranges(positive: Conditioning, _: list[int]) -> Conditioning:
    early, late = ((0.0, 0.5), (0.5, 1.0))
    set_range = nodes.ConditioningSetTimestepRange().set_range
    return set_range(positive, *early)[0] + set_range(OTHER, *late)[0]


BESIDE_ALL: dict[str, Node] = {
    "Combine": lambda positive, _: nodes.ConditioningCombine().combine(positive, OTHER)[0],
    "Combine, a row each": lambda positive, rows: nodes.ConditioningCombine().combine(positive, others(rows))[0],
    "Multiply": lambda positive, _: nodes.ConditioningMultiply().multiply(positive, 0.8)[0],
    "Zero Out": lambda positive, _: nodes.ConditioningZeroOut().zero_out(positive)[0],
    "Set Area Strength": lambda positive, _: nodes.ConditioningSetAreaStrength().append(positive, 0.5)[0] + OTHER,
    "Set Timestep Range": timestep_ranges,
    "Set Default and Combine": default,
}
BESIDE_ONE_CALL: dict[str, Node] = {
    "Set Area": lambda positive, _: nodes.ConditioningSetArea().append(positive, 32, 64, 0, 0, 1.0)[0] + OTHER,
    "Set Mask": lambda positive, _: nodes.ConditioningSetMask().append(positive, MASK, "default", 1.0)[0] + OTHER,
}
BESIDE_ONE_LENGTH: dict[str, Node] = {
    "Average": lambda positive, _: nodes.ConditioningAverage().addWeighted(positive, OTHER, 0.7)[0],
    "Concat, a row each": lambda positive, rows: nodes.ConditioningConcat().concat(positive, others(rows))[0],
}


@pytest.mark.parametrize("counts", [OF_COMMON_LENGTH, OF_SEVERAL_CALLS], ids=str)
@pytest.mark.parametrize("name", BESIDE_ALL)
def test_beside_lines_of_any_lengths(name: str, counts: tuple[int, ...]):
    if name == "Multiply" and not hasattr(nodes, "ConditioningMultiply"):
        pytest.skip("this host has no such node")
    assert max(errors(BESIDE_ALL[name], counts)) < 1e-5


@pytest.mark.parametrize("name", BESIDE_ONE_CALL)
def test_beside_lines_that_need_one_call(name: str):
    assert max(errors(BESIDE_ONE_CALL[name], OF_COMMON_LENGTH)) < 1e-5


@pytest.mark.parametrize("name", BESIDE_ONE_LENGTH)
def test_beside_lines_of_one_length(name: str):
    assert max(errors(BESIDE_ONE_LENGTH[name], OF_ONE_LENGTH)) < 1e-5


@pytest.mark.parametrize("counts", [OF_COMMON_LENGTH, OF_SEVERAL_CALLS], ids=str)
@pytest.mark.parametrize("a_row", [False, True])
def test_beside_a_controlnet_with_a_hint_for_all_and_for_each_row(control, a_row: bool, counts: tuple[int, ...]):
    def apply(positive: Conditioning, rows: list[int]) -> Conditioning:
        hint, negative = HINTS[rows if a_row else [0]], conditioning(1, seed=2)
        return nodes.ControlNetApplyAdvanced().apply_controlnet(positive, negative, control, hint, 0.8, 0.0, 1.0)[0]

    assert max(errors(apply, counts)) < 1e-5
