"""The switch that keeps ControlNet away from the reference."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from oracles import relative_error
from sampling import sample, shared
from tiny_models import conditioning

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "robustness"))
from host_patches import with_control


@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_the_reference_is_as_without_a_hint(model, cfg: float):
    hinted = with_control(conditioning(3))
    off, on = (
        sample(shared(model, reference_without_control=switch), positive=hinted, cfg=cfg, steps=2)
        for switch in (False, True)
    )
    plain = sample(model, cfg=cfg, steps=2)
    assert torch.equal(on[0], plain[0])
    assert relative_error(off[0], plain[0]) > 1e-2
    assert relative_error(on[1:], sample(shared(model), cfg=cfg, steps=2)[1:]) > 1e-2


def test_off_is_the_hosts_to_the_bit(model):
    hinted = with_control(conditioning(3))
    off = shared(model, reference_without_control=True, strength=0.0)
    assert torch.equal(sample(off, positive=hinted, steps=2), sample(model, positive=hinted, steps=2))


@pytest.mark.usefixtures("split_calls")
def test_also_in_separate_calls(model):
    on = sample(shared(model, reference_without_control=True), positive=with_control(conditioning(3)), steps=2)
    assert relative_error(on[0], sample(model, steps=2)[0]) < 1e-5
