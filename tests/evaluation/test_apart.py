"""The variants of a reference apart: each draws what it says, and beside the batch what a row of it does."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from empty_layout import NOTHING

from devtools import evaluate
from devtools.evaluation import drawing, report
from devtools.evaluation.readings import Reading
from devtools.evaluation.report import Result
from devtools.evaluation.sets import TARGETS, plan
from devtools.evaluation.shelf import Shelf
from devtools.evaluation.summary import distance_to
from devtools.evaluation.variants import VARIANTS


@pytest.fixture(scope="module")
def drawn(comfyui_path) -> dict[str, torch.Tensor]:
    keys = ["picture-plain", "noise-matched", *(key for key, each in VARIANTS.items() if each.source == "apart")]
    studio = drawing.Studio("unet")
    studio.steps = 3
    with torch.inference_mode():
        return {key: studio.draw(VARIANTS[key], plan(1)) for key in keys}


@pytest.mark.thorough
def test_apart_from_the_batch_is_as_in_its_first_row(drawn):
    torch.testing.assert_close(drawn["apart"], drawn["noise-matched"], rtol=1e-3, atol=1e-3)
    assert drawn["apart"].shape[0] == 1 + TARGETS


@pytest.mark.thorough
def test_no_two_draw_the_same_targets(drawn):
    others = [key for key in drawn if key != "noise-matched"]
    for first, second in itertools.combinations(others, 2):
        torch.testing.assert_close(drawn[first][0], drawn[second][0])
        assert (drawn[first][1:] - drawn[second][1:]).abs().max() > 0.01, (first, second)


def test_a_second_picture_shows_the_same_shape_in_another_style():
    assert (plan(3).picture != plan(3).second).any()
    assert (plan(3).second == plan(3).second).all()


def test_the_distance_to_a_second_picture_is_that_of_the_targets():
    palettes = np.zeros((1 + TARGETS, 3, 3), np.float32)
    palettes[1:, :, 0] = 0.3
    reading = Reading(np.zeros((1 + TARGETS, 5), int), palettes, np.zeros((1 + TARGETS, 4), np.float32), NOTHING)
    second = torch.zeros(2, 3, 3)
    second[:, :, 0] = torch.tensor([[0.1], [0.3]])
    np.testing.assert_allclose(distance_to([reading, reading], second), [0.2, 0.0], atol=1e-6)


def test_mixes_are_in_the_order_of_their_weights():
    keys = ["mix-1", "apart", "mix-0.5"]
    results = [
        Result(VARIANTS[key], {"colour": np.full(4, number), "second": np.full(4, 1.0)}, np.ones(4), None, 1.0, {}, 0.0)
        for number, key in enumerate(keys)
    ]
    lines = report.mix_table(results).splitlines()[2:]
    assert [line.split("|")[1].strip() for line in lines] == ["0", "0.5", "1"]
    assert lines[0].split("|")[2].strip().startswith("1.000")
    assert [key for key, each in VARIANTS.items() if each.source == "apart" and each.apart.is_mix] == [
        "apart", "mix-0.25", "mix-0.5", "mix-0.75", "mix-1",
    ]  # fmt: skip


def test_the_report_has_a_table_of_mixes(tmp_path):
    """From readings on the shelf to the tables."""
    shelf, wanted = Shelf(tmp_path, "unet"), [VARIANTS[key] for key in ("picture-plain", "apart", "mix-0.5")]
    rng = np.random.default_rng(0)
    for variant in wanted:
        for number in range(2):
            palettes = rng.random((1 + TARGETS, 3, 3), np.float32)
            features = rng.standard_normal((1 + TARGETS, 4)).astype(np.float32)
            reading = Reading(np.zeros((1 + TARGETS, 5), int), palettes, features, NOTHING)
            shelf.put_pictures((variant.key, number), torch.zeros(1 + TARGETS, 32, 32, 3))
            shelf.put_reading((variant.key, number), reading)
    results = evaluate.results_of(wanted, shelf, 2, {variant.key: 1.0 for variant in wanted})
    evaluate.write(tmp_path / "evaluation", results, {}, {"hard": False})
    text = (tmp_path / "evaluation.md").read_text(encoding="utf-8")
    assert "| weight of the second picture |" in text
    assert text.count("| 0.5 |") == 1
    assert [("second" in result.values) for result in results] == [False, True, True]
