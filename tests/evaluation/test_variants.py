"""Each variant of the small transformer is one: it changes the targets, each in its own way, and not the reference."""

import itertools
import json
from dataclasses import replace

import pytest
import torch

from devtools.evaluation.drawing import Studio
from devtools.evaluation.sets import plan
from devtools.evaluation.variants import OF_HARD, OF_INSIDE, OF_MODEL, VARIANTS, Moment
from devtools.pictures.layout import WORKFLOWS

STEPS = 9  # so many that half and 60% of them are not the same


@pytest.fixture(scope="module")
def studio(comfyui_path) -> Studio:
    studio = Studio("flux")
    studio.steps = STEPS
    return studio


@pytest.fixture(scope="module")
def drawn(studio) -> dict[str, torch.Tensor]:
    """Full sharing changes the reference too, and has a test of its own."""
    keys = [key for key in OF_MODEL["flux"] if VARIANTS[key].source == "text" and not VARIANTS[key].everyone]
    with torch.inference_mode():
        return {key: studio.draw(VARIANTS[key], plan(0)) for key in keys}


@pytest.mark.thorough
def test_none_changes_the_reference(drawn):
    for key, pictures in drawn.items():
        torch.testing.assert_close(pictures[0], drawn["plain"][0], rtol=1e-3, atol=1e-3, msg=key)


@pytest.mark.thorough
def test_no_two_draw_the_same_target(drawn):
    for first, second in itertools.combinations(drawn, 2):
        assert (drawn[first][1:] - drawn[second][1:]).abs().max() > 0.01, (first, second)


def test_step_by_step_is_the_same_run(studio):
    """Where the setting that could change does not; it is asked for at each step."""
    chosen, asked = VARIANTS["chosen"], []

    def steady_one(moment: Moment) -> float:
        asked.append(moment)
        return 0.6

    steady = replace(chosen, positions={**chosen.positions, "high_frequencies": steady_one})
    with torch.inference_mode():
        whole, by_step = (studio.draw(each, plan(0)) for each in (chosen, steady))
    torch.testing.assert_close(by_step, whole, rtol=1e-3, atol=1e-3)
    assert [moment.progress for moment in asked] == pytest.approx([step / (STEPS - 1) for step in range(STEPS)])
    assert [moment.noise for moment in asked] == pytest.approx([1 - step / STEPS for step in range(STEPS)], abs=2e-3)


def test_settings_change_from_the_first_step_to_the_last():
    def at(key, setting, moment):
        variant = VARIANTS[key].at(moment)
        return {**variant.sharing, **(variant.positions or {})}[setting]

    first, middle, last = Moment(0.0, 1.0), Moment(0.5, 0.6), Moment(1.0, 0.05)
    assert [at("falling", "low_frequencies", moment) for moment in (first, middle, last)] == [1, 2, 3]
    assert [at("rising", "high_frequencies", moment) for moment in (first, middle, last)] == [0.25, 0.5, 0.75]
    assert [at("scale-fading", "scale", moment) for moment in (first, middle)] == pytest.approx([1, 0.36])


def test_what_changes_over_sampling_has_a_reference_from_text():
    """It is drawn from noise, a step at a time: nowhere does a picture come in."""
    assert {variant.source for variant in VARIANTS.values() if variant.changes} == {"text"}


def test_hard_sets_have_variants_of_a_given_picture_only():
    """Where it lies, and how large it is, is the sets' own; all are compared with the same baseline."""
    assert {VARIANTS[key].baseline for keys in OF_HARD.values() for key in keys} == {"picture-plain"}


def test_all_are_some_models():
    assert {key for of in (OF_MODEL, OF_HARD, OF_INSIDE) for keys in of.values() for key in keys} == set(VARIANTS)


def test_the_template_for_flux_has_what_is_said_to_be_chosen():
    graph = json.loads((WORKFLOWS / "style_aligned_flux.json").read_text(encoding="utf-8"))
    saved = {node["type"]: node.get("widgets_values") for node in graph["nodes"]}
    chosen = VARIANTS["chosen"]
    assert saved["StyleAlignedPositions"] == list(chosen.positions.values())
    assert saved["StyleAlignedShareAttention"] == [1, 0, False, *chosen.sharing.values(), False, 0, 1, "", 1, False]
