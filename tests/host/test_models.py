"""Models that are not UNets of Stable Diffusion are refused by name, and bad values before anything runs."""

from __future__ import annotations

import pytest
from sampling import shared
from style_aligned.nodes.share_attention import StyleAlignedShareAttention
from tiny_models import tiny_model, tiny_svd


def test_video_models_are_refused_by_name():
    with pytest.raises(ValueError, match="it is Stable Video Diffusion") as caught:
        shared(tiny_svd())
    assert "SD 1.x, SD 2.x, SDXL" in str(caught.value)
    assert "Flux.1" in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"blocks": "inptu.4"}, "'inptu.4' is not a block"),
        ({"start_percent": 0.8, "end_percent": 0.2}, "lies after end_percent"),
        ({"start_percent": 1.2}, "from 0 to 1"),
    ],
    ids=str,
)
def test_bad_values_are_refused_before_and_at_the_run(values: dict, message: str):
    assert message in str(StyleAlignedShareAttention.validate_inputs(**values))
    with pytest.raises(ValueError, match=message):
        shared(tiny_model("sd15"), **values)


@pytest.mark.parametrize("values", [{}, {"blocks": None}, {"blocks": "middle", "end_percent": 0.0}], ids=str)
def test_good_and_connected_values_pass(values: dict):
    assert StyleAlignedShareAttention.validate_inputs(**values) is True


@pytest.mark.parametrize(
    ("blocks", "named"),
    [
        ("input.99", "'input.99' names"),
        ("middle, output.40-60", "'output.40-60' names"),
        ("double.1, single", "'double.1' and 'single' name"),
    ],
)
def test_blocks_that_name_nothing_are_refused_with_what_there_is(blocks: str, named: str):
    with pytest.raises(ValueError, match=named) as caught:
        shared(tiny_model("sd15"), blocks=blocks)
    assert "It has input.1, input.3, middle.0, output.0-3" in str(caught.value)


def test_blocks_with_nothing_but_group_norms_can_share_these():
    with pytest.raises(ValueError, match=r"'input\.1' names nothing"):
        shared(tiny_model("sdxl"), blocks="input.1")
    shared(tiny_model("sdxl"), blocks="input.1", share_group_norm=True)
