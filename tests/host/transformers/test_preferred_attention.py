"""A transformer's layers attend as the checkpoint asks, whatever is shared in them."""

from __future__ import annotations

from typing import Any

import pytest
from comfy.ldm.modules import attention as host
from comfy.model_patcher import ModelPatcher
from oracles import relative_error
from preferring import Asked, ask
from runs import dense, run, shared_everywhere, variants
from sampling import shared
from variant import Variant

ONE_STEP = {"steps": 1, "cfg": 1.0}
FLUX = variants("flux_schnell")


@pytest.fixture
def model(variant: Variant) -> ModelPatcher:
    return variant.model()


@pytest.fixture
def asked(model: ModelPatcher, monkeypatch: pytest.MonkeyPatch) -> Asked:
    return ask(monkeypatch, model.model.diffusion_model.double_blocks[0])


@pytest.mark.parametrize("variant", FLUX, indirect=True)
@pytest.mark.parametrize("settings", [{}, {"shift": 0.7}], ids=str)
def test_where_it_shares(variant: Variant, model: ModelPatcher, asked: Asked, settings: dict[str, Any]) -> None:
    actual = run(shared_everywhere(model, **settings), variant, **ONE_STEP)
    assert relative_error(actual, dense(variant, ONE_STEP, **settings)) < 1e-5
    assert len(asked.masks) >= 2  # references and targets
    assert all(mask is None for mask in asked.masks)


@pytest.mark.parametrize("variant", FLUX, indirect=True)
def test_in_a_layer_that_is_not_selected(variant: Variant, model: ModelPatcher, asked: Asked) -> None:
    run(shared(model, blocks="single"), variant, **ONE_STEP)
    assert asked.masks == [None]


@pytest.mark.parametrize("variant", FLUX, indirect=True)
def test_an_override_of_another_node_goes_before(variant: Variant, model: ModelPatcher, asked: Asked) -> None:
    def override(_: Any, *args: Any, **further: Any) -> Any:
        return host.attention_pytorch(*args, **further)

    clone = shared_everywhere(model)
    clone.model_options["transformer_options"]["optimized_attention_override"] = override
    run(clone, variant, **ONE_STEP)
    assert asked.masks == []
