"""The oracles themselves: without sharing each is the host's own model, and knows which tokens are the image's."""

from __future__ import annotations

import pytest
import torch
from joint_oracle import JointOracle
from oracles import relative_error
from runs import run, variants
from variant import Variant


@pytest.mark.parametrize("variant", variants(), indirect=True)
def test_without_sharing_it_is_the_plain_model(variant: Variant) -> None:
    plain, oracle = run(variant.model(torch.float64), variant), run(JointOracle(variant).patcher, variant)

    assert relative_error(oracle, plain) < 1e-6
