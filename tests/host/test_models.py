"""Models that are not UNets of Stable Diffusion are refused by name, and bad values before anything runs."""

from __future__ import annotations

import pytest
from sampling import shared
from style_aligned.nodes.share_attention import StyleAlignedShareAttention
from tiny_models import tiny_model, tiny_sd3, tiny_svd


@pytest.mark.parametrize(("build", "name"), [(tiny_sd3, "SD3"), (tiny_svd, "SVD_img2vid")])
def test_other_models_are_refused_by_name(build, name: str):
    with pytest.raises(ValueError, match=name) as caught:
        shared(build())
    assert "SD 1.x, SD 2.x, SDXL" in str(caught.value)


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
