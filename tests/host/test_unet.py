"""A whole UNet through the host's sampling path against the float64 oracle."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle_model import OracleModel
from oracles import relative_error
from sampling import sample, shared
from style_aligned.shared_attention.host.families.unet_attentions import self_attentions
from tiny_models import FAMILIES, tiny_model

OPTIONS = [
    {},
    {"scale": 0.4},
    {"shift": math.log(2)},
    {"shift": -2.0},
    {"adain_queries": False},
    {"adain_keys": False},
    {"adain_values": True},
    {"strength": 0.4},
    {"strength": 0.4, "shift": 1.0, "scale": 0.8},
]
ONE_STEP = {"steps": 1, "cfg": 2.0}
# One step of a model is a linear combination of its input and output, which are of the same size here.


def error_of(family: str, node_options: dict, oracle: OracleModel | None = None, **sampling) -> float:
    model = tiny_model(family)
    oracle = oracle or OracleModel(family, node_options)
    return relative_error(sample(shared(model, **node_options), **sampling), sample(oracle.patcher, **sampling))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_equals_the_equations(family: str):
    assert error_of(family, {}, **ONE_STEP) < 1e-5


@pytest.mark.parametrize("options", OPTIONS[1:], ids=str)
def test_every_option_equals_the_equations(options: dict):
    assert error_of("sd15", options, **ONE_STEP) < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_shared_group_norms_equal_the_equations(family: str):
    oracle = OracleModel(family, share_group_norm=True)
    assert error_of(family, {"share_group_norm": True}, oracle, **ONE_STEP) < 1e-5


def test_strength_weighs_the_references_values_in_group_norms():
    oracle = OracleModel("sd15", {"strength": 0.3}, share_group_norm=True)
    assert error_of("sd15", {"share_group_norm": True, "strength": 0.3}, oracle, **ONE_STEP) < 1e-5


def test_strength_goes_from_off_to_full():
    """Where `scale` 0 moves pictures more than 1 does, this one is monotone."""
    model = tiny_model("sd15")
    plain = sample(model)
    strengths = (0.0, 0.1, 0.3, 0.6, 0.8, 1.0)
    distances = [relative_error(sample(shared(model, strength=strength))[1:], plain[1:]) for strength in strengths]
    assert distances[0] == 0.0
    assert distances == sorted(set(distances))
    assert torch.equal(sample(shared(model, strength=1.0)), sample(shared(model)))


@given(
    family=st.sampled_from(["sd15", "sd2", "sdxl"]),
    scale=st.floats(0, 2),
    shift=st.floats(-10, 10),
    adain=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    share_group_norm=st.booleans(),
    images=st.integers(2, 5),
)
@settings(max_examples=12, deadline=None)
def test_random_combinations_equal_the_equations(family, scale, shift, adain, share_group_norm, images):
    flags = dict(zip(("adain_queries", "adain_keys", "adain_values"), adain, strict=True))
    options = {"scale": scale, "shift": shift, **flags}
    oracle = OracleModel(family, options, share_group_norm)
    node_options = {**options, "share_group_norm": share_group_norm}
    assert error_of(family, node_options, oracle, images=images, **ONE_STEP) < 1e-5


@pytest.mark.parametrize("share_group_norm", [False, True])
def test_selected_blocks_equal_the_equations(share_group_norm: bool):
    blocks = {("input", 1), ("middle", 0), ("output", 2), ("output", 3)}
    oracle = OracleModel("sd15", share_group_norm=share_group_norm, blocks=blocks)
    options = {"blocks": "input.1, middle, output.2-3", "share_group_norm": share_group_norm}
    assert error_of("sd15", options, oracle, **ONE_STEP) < 1e-5


def test_several_steps_equal_the_equations():
    """Rounding grows from step to step, in the oracle's direction or not."""
    assert error_of("sdxl", {"shift": 0.5}, steps=6) < 1e-4


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 5e-3), (torch.bfloat16, 4e-2)])
@pytest.mark.parametrize("options", [{}, {"shift": 0.7, "share_group_norm": True}], ids=str)
def test_half_precision_is_as_close_as_the_host_alone(dtype: torch.dtype, tolerance: float, options: dict):
    half = tiny_model("sdxl", dtype=dtype)
    equations = {name: value for name, value in options.items() if name != "share_group_norm"}
    oracle = OracleModel("sdxl", equations, options.get("share_group_norm", False), weights=half)
    assert relative_error(sample(shared(half, **options), **ONE_STEP), sample(oracle.patcher, **ONE_STEP)) < tolerance


@pytest.mark.parametrize(
    "options", [*OPTIONS[1:], {"share_group_norm": True}, {"blocks": "middle"}, {"end_percent": 0.4}], ids=str
)
def test_every_option_matters(options: dict):
    model = tiny_model("sd15")
    assert relative_error(sample(shared(model, **options)), sample(shared(model))) > 1e-3


def test_every_self_attention_is_found():
    model = tiny_model("sdxl").model.diffusion_model
    attentions = sum(name.endswith("attn1") for name, _ in model.named_modules())
    assert len(list(self_attentions(model))) == attentions == 8


def test_cross_attention_in_the_place_of_self_attention_is_left_alone():
    """As in the upscaler of SD 2.x."""
    model = tiny_model("sd15", disable_self_attentions=[True, False]).model.diffusion_model
    keys = set(self_attentions(model))
    assert ("input", 1, 0) not in keys
    assert ("input", 3, 0) in keys
