"""A UNet's layers attend as the checkpoint asks, whatever is shared in them."""

from __future__ import annotations

import pytest
from oracle_model import OracleModel
from oracles import relative_error
from preferring import Asked, ask, know_preferences
from sampling import sample, shared
from style_aligned.nodes.masks import StyleAlignedMasks
from tiny_models import tiny_model

LAYER = "input_blocks.1.1.transformer_blocks.0.attn1"
TEXT_LAYER = "input_blocks.1.1.transformer_blocks.0.attn2"
ONE_STEP = {"steps": 1, "cfg": 2.0}


@pytest.fixture
def model():
    return tiny_model("sd15")


@pytest.fixture
def asked(model, monkeypatch: pytest.MonkeyPatch) -> Asked:
    know_preferences(monkeypatch)
    return ask(monkeypatch, model.model.diffusion_model.get_submodule(LAYER))


@pytest.mark.parametrize("options", [{}, {"shift": 0.7}, {"strength": 0.2}], ids=str)
def test_where_it_shares(model, asked: Asked, options: dict):
    actual = sample(shared(model, **options), **ONE_STEP)
    assert relative_error(actual, sample(OracleModel("sd15", options).patcher, **ONE_STEP)) < 1e-5
    assert len(asked.masks) >= 2  # references and targets
    assert all(mask is None for mask in asked.masks)


@pytest.mark.parametrize("options", [{"end_percent": 0.0}, {"blocks": "middle.0"}], ids=str)
def test_where_it_does_not(model, asked: Asked, options: dict):
    sample(shared(model, **options), **ONE_STEP)
    assert asked.masks == [None]


def test_in_attention_to_text_that_is_searched(model, monkeypatch: pytest.MonkeyPatch):
    know_preferences(monkeypatch)
    asked = ask(monkeypatch, model.model.diffusion_model.get_submodule(TEXT_LAYER))
    sample(StyleAlignedMasks.execute(shared(model), None, None, 1.0, "").result[0], **ONE_STEP)
    assert asked.masks == [None]
