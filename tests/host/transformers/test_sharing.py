"""A transformer with shared attention computes what its dense float64 oracle does, whatever the settings."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from joint_oracle import JointOracle, Sharing
from oracles import relative_error
from positions import Tokens
from runs import dense, run, shared_everywhere, variants
from sampling import shared
from variant import LayerKey, Variant

TOLERANCE = 1e-5
TYPICAL = ("flux_dev", "qwen_image", "z_image", "krea2", "sd35_medium", "hidream_i1", "cosmos_predict2")
"""A variant of every kind: text first or last, rotations in every form, two attentions in a block, image alone."""
ONE_STEP: dict[str, Any] = {"steps": 1}
"""What a layer computes shows in one call of the model; that the next is no different shows with the defaults."""


@pytest.mark.parametrize("variant", variants(), indirect=True)
def test_defaults(variant: Variant) -> None:
    model = variant.model()
    plain, actual = run(model, variant), run(shared_everywhere(model), variant)

    assert relative_error(actual, dense(variant)) < TOLERANCE
    assert torch.equal(actual[:1], plain[:1]), "the reference is not as without sharing"
    assert relative_error(actual, plain) > 1e-3


@pytest.mark.parametrize("variant", variants(), indirect=True)
def test_every_option_at_once(variant: Variant) -> None:
    settings = {"scale": 1.1, "shift": math.log(2), "strength": 0.6, "adain_queries": False, "adain_values": True}

    actual = run(shared_everywhere(variant.model(), **settings), variant)

    assert relative_error(actual, dense(variant, **settings)) < TOLERANCE


@pytest.mark.thorough
@pytest.mark.parametrize(
    "settings",
    [
        {"scale": 0.8},
        {"shift": math.log(2)},
        {"shift": -1.0, "adain_queries": False, "adain_keys": False},
        {"strength": 0.3},
        {"adain_keys": False},
        {"adain_values": True},
    ],
    ids=["scale", "shift", "shift down, no adain", "strength", "queries alone", "values"],
)
@pytest.mark.parametrize("variant", variants(*TYPICAL), indirect=True)
def test_option(variant: Variant, settings: dict[str, Any]) -> None:
    actual = run(shared_everywhere(variant.model(), **settings), variant, **ONE_STEP)

    assert relative_error(actual, dense(variant, ONE_STEP, **settings)) < TOLERANCE
    assert relative_error(actual, dense(variant, ONE_STEP)) > 10 * TOLERANCE


@pytest.mark.thorough
@pytest.mark.parametrize(
    "settings",
    [{"positions": "same"}, {"positions": "none"}, {"high": 0.4, "low": 1.3}],
    ids=["same", "none", "frequencies"],
)
@pytest.mark.parametrize("variant", variants(rotary=True), indirect=True)
def test_positions(variant: Variant, settings: dict[str, Any]) -> None:
    actual = run(shared_everywhere(variant.model(), **settings), variant, **ONE_STEP)

    assert relative_error(actual, dense(variant, ONE_STEP, **settings)) < TOLERANCE


@pytest.mark.thorough
@pytest.mark.parametrize("settings", [{"positions": "same"}, {"positions": "none"}], ids=lambda s: s["positions"])
@pytest.mark.parametrize("variant", variants("flux_dev", "ideogram4", "cosmos_predict2"), indirect=True)
def test_frequencies_of_a_reference_placed_elsewhere(variant: Variant, settings: dict[str, Any]) -> None:
    settings = {**settings, "high": 0.2, "low": 1.5, "scale": 1.1}

    actual = run(shared_everywhere(variant.model(), **settings), variant, **ONE_STEP)

    assert relative_error(actual, dense(variant, ONE_STEP, **settings)) < TOLERANCE


@pytest.mark.thorough
@pytest.mark.parametrize("variant", variants(), indirect=True)
def test_without_guidance(variant: Variant) -> None:
    """One chunk a call, as few-step models run."""
    model, options = variant.model(), {"images": 2, "cfg": 1.0, **ONE_STEP}

    actual = run(shared_everywhere(model), variant, **options)

    assert relative_error(actual, dense(variant, options)) < TOLERANCE
    assert torch.equal(actual[:1], run(model, variant, **options)[:1])


@pytest.mark.thorough
@pytest.mark.usefixtures("split_calls")
@pytest.mark.parametrize("variant", variants(), indirect=True)
def test_split_calls(variant: Variant) -> None:
    actual = run(shared_everywhere(variant.model()), variant, **ONE_STEP)

    assert relative_error(actual, dense(variant, ONE_STEP)) < TOLERANCE


@pytest.mark.thorough
@pytest.mark.parametrize("variant", variants(*TYPICAL), indirect=True)
def test_three_chunks(variant: Variant) -> None:
    """Two positive prompts and a negative one in a call."""
    options = {"positive": variant.conditioning(3, seed=1) + variant.conditioning(3, seed=5), **ONE_STEP}

    actual = run(shared_everywhere(variant.model()), variant, **options)

    assert relative_error(actual, dense(variant, options)) < TOLERANCE


@pytest.mark.parametrize("variant", variants(*TYPICAL, "lens", "ideogram4"), indirect=True)
def test_negative_prompt_of_another_length(variant: Variant) -> None:
    options = {"negative": variant.conditioning(1, seed=2, text=4)}

    actual = run(shared_everywhere(variant.model()), variant, **options)

    assert relative_error(actual, dense(variant, options)) < TOLERANCE


@pytest.mark.parametrize("variant", variants("ideogram4"), indirect=True)
def test_negative_without_text(variant: Variant) -> None:
    options = {"negative": [[None, {}]]}

    actual = run(shared_everywhere(variant.model()), variant, **options)

    assert relative_error(actual, dense(variant, options)) < TOLERANCE


@pytest.mark.parametrize("variant", variants("flux_dev", "z_image", "lumina2"), indirect=True)
def test_scaled_positions(variant: Variant) -> None:
    """The host's node that scales rotary positions: the reference stands as far away as the image is then wide."""
    wider = stretched(variant, 1.5)

    actual = run(shared_everywhere(wider.model()), wider)

    assert relative_error(actual, dense(wider)) < TOLERANCE
    assert relative_error(actual, dense(variant)) > 10 * TOLERANCE


def stretched(variant: Variant, factor: float) -> Variant:
    """With neighbours along x `factor` positions apart."""

    def tokens(*call: Any) -> Tokens:
        plain = variant.tokens(*call)
        return replace(plain, positions=plain.positions * torch.tensor([1.0, 1.0, factor]), step=factor)

    return replace(variant, tokens=tokens, transformer_options={"rope_options": {"scale_x": factor}})


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("blocks", "chosen"),
    [
        ("double.0", {("double", 0)}),
        ("single", {("single", 0), ("single", 1)}),
        ("double.1, single.0", {("double", 1), ("single", 0)}),
    ],
)
@pytest.mark.parametrize("variant", variants("flux_dev", "hunyuan_image", "boogu", "auraflow"), indirect=True)
def test_chosen_blocks(variant: Variant, blocks: str, chosen: set[LayerKey]) -> None:
    actual = run(shared(variant.model(), blocks=blocks), variant, **ONE_STEP)

    expected = run(JointOracle(variant, Sharing(), chosen.__contains__).patcher, variant, **ONE_STEP)
    assert relative_error(actual, expected) < TOLERANCE


@pytest.mark.parametrize("variant", variants("flux_dev"), indirect=True)
def test_flux_shares_its_single_blocks_where_none_are_named(variant: Variant) -> None:
    """As AlignedGen does."""
    actual = run(shared(variant.model()), variant)

    expected = run(JointOracle(variant, Sharing(), lambda key: key[0] == "single").patcher, variant)
    assert relative_error(actual, expected) < TOLERANCE


@pytest.mark.thorough
@pytest.mark.parametrize("variant", variants(*TYPICAL), indirect=True)
def test_half_precision_adds_no_more_than_rounding(variant: Variant) -> None:
    """Sharing in bfloat16 is as close to float64 as the model itself is."""
    exact = run(JointOracle(variant).patcher, variant)
    model = variant.model(torch.bfloat16)
    plain, actual = run(model, variant), run(shared_everywhere(model), variant)

    assert torch.equal(actual[:1], plain[:1])
    assert relative_error(actual, dense(variant)) < 2 * relative_error(plain, exact)
