"""An inverted icon comes back: deterministic sampling from the noise that inversion found, at the same guidance."""

import pytest
import torch
from every_day import every_day

from devtools.measuring.inversion_error import error, load_icons

MOST = {(10, 1.0): 0.55, (20, 1.0): 0.32, (40, 1.0): 0.18, (10, 2.0): 0.6, (20, 2.0): 0.35, (40, 2.0): 0.19}
"""By steps and CFG: measured 0.42, 0.23 and 0.12 at CFG 1, and 0.45, 0.26 and 0.13 at CFG 2."""


@pytest.fixture(scope="module")
def icon():
    model, (icon,) = load_icons(1)
    return model, icon


@pytest.mark.parametrize("cfg", every_day([1.0, 2.0], [1.0]))
def test_the_error_falls_with_the_number_of_steps(icon, cfg: float):
    """A method of first order: twice the steps, about half the error."""
    with torch.inference_mode():
        errors = {steps: error(*icon, steps, cfg) for steps in (10, 20, 40)}
    assert errors[20] < 0.7 * errors[10]
    assert errors[40] < 0.7 * errors[20]
    for steps, value in errors.items():
        assert value < MOST[steps, cfg]
