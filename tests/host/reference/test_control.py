"""A model call's residuals without those of references."""

from __future__ import annotations

import pytest
import torch
from style_aligned.shared_attention.host.row.control import without_control
from style_aligned.shared_attention.rows import Rows


@pytest.mark.parametrize("rows", [Rows(2, 3), Rows(1, 4), Rows(2, 3, 1), Rows(2, 1)], ids=str)
@pytest.mark.parametrize("shape", [(4, 2, 2), (6, 8)], ids=["image", "tokens"])
def test_references_get_none(rows: Rows, shape: tuple[int, ...]):
    residual, one = torch.randn(rows.count, *shape), torch.randn(1, *shape)
    given = residual.clone()
    out = without_control({"input": [residual, None], "middle": [one], "output": []}, rows)
    assert out.keys() == {"input", "middle", "output"}
    assert out["input"][1] is None
    assert out["output"] == []
    for row in range(rows.count):
        is_reference = row % rows.images == rows.reference
        assert torch.equal(out["input"][0][row], torch.zeros(shape) if is_reference else given[row])
        assert torch.equal(out["middle"][0][row], torch.zeros(shape) if is_reference else one[0])
    assert torch.equal(residual, given)


def test_the_given_lists_stay_as_they_are():
    """The host's model takes residuals out of the lists as it goes."""
    given = {"input": [torch.randn(2, 4)]}
    without_control(given, Rows(1, 2))["input"].pop()
    assert len(given["input"]) == 1


def test_no_control():
    assert without_control(None, Rows(1, 2)) is None
