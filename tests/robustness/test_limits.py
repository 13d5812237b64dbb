"""Numbers over a connection, which the host does not check, are held to the limits of the nodes' inputs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "host"))

from sampling import noise, shared
from style_aligned.nodes.invert import StyleAlignedInvert
from style_aligned.nodes.prompts import StyleAlignedPrompts
from style_aligned.nodes.reference_latent import StyleAlignedReferenceLatent
from style_aligned.nodes.share_attention import StyleAlignedShareAttention
from style_aligned.nodes.style_files import StyleAlignedSaveStyle
from tiny_models import conditioning, tiny_model

NAN, INFINITE = float("nan"), float("inf")
LATENT = {"samples": noise(1)}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scale": NAN}, "scale is nan; give a number from 0 to 2"),
        ({"scale": -0.5}, "scale is -0.5; give"),
        ({"shift": INFINITE}, "shift is inf; give a number from -10 to 10"),
        ({"start_percent": NAN}, "start_percent is nan; give"),
    ],
)
def test_share_attention(values: dict, message: str):
    with pytest.raises(ValueError, match=message):
        shared(tiny_model("sd15"), **values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"targets": -1}, "targets is -1; give a number from 1 to 4095"),
        ({"targets": 2**40}, r"targets is 1\.09951e\+12; give"),
        ({"targets": 2, "offset": -1}, "offset is -1; give a number from 0 to 1000"),
    ],
)
def test_reference_latent(values: dict, message: str):
    with pytest.raises(ValueError, match=message):
        StyleAlignedReferenceLatent.execute(tiny_model("sd15"), LATENT, start_from="noise", **values)


@pytest.mark.parametrize("value", [[], {}, None, 7, ["a"]], ids=str)
def test_a_value_of_any_kind_is_answered(value: object):
    """Over the API; what the host does not refuse itself is refused in words, and nothing raises."""
    for name in ("start_percent", "end_percent"):
        answer = StyleAlignedShareAttention.validate_inputs(**{name: value})
        assert f"{name} is 7" in str(answer) if value == 7 else answer is True
    if value is not None:
        assert "There is no prompt" in StyleAlignedPrompts.validate_inputs(value)
        assert "filename_prefix is" in StyleAlignedSaveStyle.validate_inputs(value)


def test_a_set_of_one_prompt_is_the_reference_alone():
    _, latent = StyleAlignedReferenceLatent.execute(tiny_model("sd15"), LATENT, 0, "noise").result
    assert torch.equal(latent["samples"], LATENT["samples"])
    assert latent["batch_index"] == [0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 0}, "steps is 0; give a number from 1 to 1000"),
        ({"steps": 2**40}, "steps is .*; give"),
        ({"cfg": NAN}, "cfg is nan; give a number from 0 to 100"),
    ],
)
def test_invert(values: dict, message: str):
    with pytest.raises(ValueError, match=message):
        StyleAlignedInvert.execute(tiny_model("sd15"), conditioning(), LATENT, **{"steps": 2, "cfg": 2.0, **values})
