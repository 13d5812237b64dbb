"""The range of the sampling process."""

from __future__ import annotations

import pytest
from style_aligned.shared_attention.schedule import SamplingRange


def percent_to_sigma(percent: float) -> float:
    """As the host's: above every noise level at 0, zero at 1."""
    if percent <= 0:
        return 999999999.9
    return 14.6 * (1 - percent)


def test_whole_range_contains_every_sigma():
    assert SamplingRange().is_whole
    assert all(SamplingRange().contains(sigma, percent_to_sigma) for sigma in (20.0, 14.6, 1.0, 0.0))


def test_a_part_contains_its_sigmas_only():
    part = SamplingRange(0.25, 0.5)
    assert not part.is_whole
    assert [part.contains(sigma, percent_to_sigma) for sigma in (14.6, 10.96, 10.94, 7.31, 7.29, 0.0)] == [
        False, False, True, True, False, False,
    ]  # fmt: skip


def test_an_end_of_0_contains_none():
    assert not any(SamplingRange(0, 0).contains(sigma, percent_to_sigma) for sigma in (14.6, 1.0, 0.0))


def test_an_end_of_0_contains_not_even_the_first_step_of_flow_models():
    """Their sigma of 0 percent is 1, which is where they start."""
    assert not SamplingRange(0, 0).contains(1.0, lambda percent: 1 - percent)
    assert SamplingRange(0, 0.5).contains(1.0, lambda percent: 1 - percent)


@pytest.mark.parametrize(
    ("start", "end", "name"), [(-0.1, 1, "start_percent"), (0, 1.5, "end_percent"), (0.6, 0.5, "lies after")]
)
def test_bad_ranges_are_refused(start, end, name):
    with pytest.raises(ValueError, match=name):
        SamplingRange(start, end)
