"""The numbers of the evaluation, from readings made by hand."""

import numpy as np
import pytest
from empty_layout import NOTHING

from devtools.evaluation.layout import Layout
from devtools.evaluation.readings import Reading
from devtools.evaluation.sets import TARGETS, Plan, plan
from devtools.evaluation.summary import Estimate, Goals, consistency, metrics
from toy import icons
from toy.judge import HEADS

PICTURES = 1 + TARGETS
STAR, HEART = icons.SHAPES.index("star"), icons.SHAPES.index("heart")
REFERENCE = [STAR, 1, 2, 3, 0]  # shape, pattern, outline, backdrop, tone


def planned(reference: str = "star") -> Plan:
    return Plan(0, (reference, *["heart"] * TARGETS), (), *[np.zeros((1, 1, 3), np.uint8)] * 2)


def reading(targets: list[list[int]], colours: list[float] | None = None, layout: Layout | None = None) -> Reading:
    """Target palettes lie `colours` away from the reference's."""
    palettes = np.zeros((PICTURES, 3, 3), np.float32)
    palettes[1:, :, 0] = np.reshape(colours or [0.0] * TARGETS, (TARGETS, 1))
    features = np.random.default_rng(0).standard_normal((PICTURES, 6)).astype(np.float32)
    return Reading(np.array([REFERENCE, *targets]), palettes, features, layout or NOTHING)


ALIKE = [HEART, *REFERENCE[1:]]
OTHER = [HEART, 0, 0, 0, 1]


def test_agreement_content_and_leakage_are_shares_of_the_targets():
    leaked = [STAR, 1, 0, 0, 0]
    found = metrics([reading([ALIKE, ALIKE, OTHER, leaked])] * 2, [planned()] * 2, [reading([OTHER] * TARGETS)])
    assert found["pattern"].tolist() == [0.75, 0.75]
    assert found["outline"].tolist() == found["backdrop"].tolist() == [0.5, 0.5]
    assert found["content"].tolist() == [0.75, 0.75]
    assert found["leakage"].tolist() == [0.25, 0.25]


def test_pictures_that_broke_up_show_no_shape():
    broken = [HEADS["shape"].index("none"), *REFERENCE[1:]]
    found = metrics([reading([ALIKE, broken, broken, broken])], [planned()], [reading([OTHER] * TARGETS)])
    assert (found["content"].tolist(), found["broken"].tolist(), found["leakage"].tolist()) == ([0.25], [0.75], [0.0])


def test_a_duplicate_is_a_further_object_of_the_reference_s_shape():
    layout = Layout(np.full(PICTURES, 0.2, np.float32), np.linspace(0, 1, PICTURES), NOTHING.further.copy())
    layout.further[0, STAR] = layout.further[1, STAR] = 1
    layout.further[2, STAR] = 3
    layout.further[3, HEART] = 1
    found = metrics([reading([ALIKE] * TARGETS, layout=layout)], [planned()], [reading([OTHER] * TARGETS)])
    assert (found["duplicates"].tolist(), found["seconds"].tolist()) == ([0.5], [0.75])
    np.testing.assert_allclose([found["copying"][0], found["overlap"][0]], [0.2, 0.625], rtol=1e-6)


def test_colour_is_the_distance_to_the_reference_and_diversity_to_the_next_set():
    sets = [reading([ALIKE] * TARGETS, [distance] * TARGETS) for distance in (0.1, 0.4)]
    found = metrics(sets, [planned()] * 2, sets)
    np.testing.assert_allclose(found["colour"], [0.1, 0.4], rtol=1e-6)
    np.testing.assert_allclose(found["diversity"], [0.3, 0.3], rtol=1e-6)


def test_features_are_compared_in_units_of_the_baselines_spread():
    made, usual = reading([ALIKE] * TARGETS), reading([OTHER] * TARGETS)
    scale = np.array([1, 10, 100, 1, 1, 0.01], np.float32)
    scaled, scaled_usual = (each._replace(features=each.features * scale + 7) for each in (made, usual))
    found, same = metrics([made], [planned()], [usual]), metrics([scaled], [planned()], [scaled_usual])
    np.testing.assert_allclose(found["similarity"], same["similarity"], rtol=1e-3)
    copied = made._replace(features=np.repeat(made.features[:1], PICTURES, 0))
    np.testing.assert_allclose(metrics([copied], [planned()], [usual])["similarity"], 1, rtol=1e-6)


def test_an_interval_is_that_of_the_mean_over_sets():
    values = np.random.default_rng(1).normal(3, 2, 400)
    estimate = Estimate.of(values)
    assert estimate.mean == pytest.approx(values.mean())
    assert estimate.half_width == pytest.approx(1.96 * 2 / 20, rel=0.1)


def test_goals_are_measured_against_the_baseline():
    chance = {head: 1 / len(HEADS[head]) for head in ("pattern", "outline", "backdrop")}
    baseline = {head: np.array([share + 0.1]) for head, share in chance.items()}
    baseline |= {"colour": np.array([0.4]), "content": np.array([0.99]), "leakage": np.array([0.0])}
    found = {
        head: np.array([share + gain]) for (head, share), gain in zip(chance.items(), (0.3, 0.2, 0.5), strict=True)
    }
    found |= {"colour": np.array([0.2]), "content": np.array([0.95]), "leakage": np.array([0.03])}
    goals = Goals.of(found, baseline)
    assert (goals.colour, goals.content_loss, goals.leakage) == pytest.approx((0.5, 0.04, 0.03))
    assert goals.agreement == pytest.approx(2.0)  # the least of 3, 2 and 5
    assert Goals(0.5, 2.0, 0.05, 0.05).reached
    for missed in ((0.51, 2, 0, 0), (0.5, 1.9, 0, 0), (0.5, 2, 0.06, 0), (0.5, 2, 0, 0.06)):
        assert not Goals(*missed).reached


def test_consistency_is_nought_for_nothing_shared_and_one_for_everything():
    nothing, everything = (
        {**dict.fromkeys(("pattern", "outline", "backdrop"), np.full(2, share)), "colour": np.full(2, distance)}
        for share, distance in ((0.0, 0.3), (1.0, 0.0))
    )
    assert consistency(nothing, nothing).tolist() == [0, 0]
    assert consistency(everything, nothing).tolist() == [1, 1]


def test_plans_are_reproducible_and_name_other_shapes():
    for number in range(20):
        first, again = plan(number), plan(number)
        assert (first.shapes, first.words) == (again.shapes, again.words)
        assert len(set(first.shapes)) == PICTURES
        assert not first.words or number % 2
    assert any(plan(number).words for number in range(1, 20, 2))


def test_readings_survive_the_disk(tmp_path):
    kept = reading([ALIKE] * TARGETS, [0.25] * TARGETS)
    kept.save(tmp_path / "set.json")
    for (*parts, layout), (*same, same_layout) in [(kept, Reading.load(tmp_path / "set.json"))]:
        for part, loaded in zip([*parts, *layout], [*same, *same_layout], strict=True):
            np.testing.assert_allclose(part, loaded, atol=1e-4)
            assert part.dtype.kind == loaded.dtype.kind
