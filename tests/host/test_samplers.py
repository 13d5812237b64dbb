"""Every sampler and scheduler of the host samples a shared batch."""

from __future__ import annotations

import comfy.samplers
import pytest
import torch
from oracles import relative_error
from sampling import noise, sample, shared
from tiny_models import smooth_model

# Their step sizes, or the noise that they add, depend on the whole batch.
COUPLE_THE_BATCH = {"dpm_adaptive", "dpmpp_sde", "dpmpp_2m_sde", "dpmpp_3m_sde"}


@pytest.fixture(scope="module")
def model():
    return smooth_model()


@pytest.mark.parametrize("sampler", comfy.samplers.KSampler.SAMPLERS)
def test_every_sampler(model, sampler: str):
    plain, together = (
        sample(patcher, 2, steps=4, cfg=1.5, sampler=sampler, initial=noise(2))
        for patcher in (model, shared(model, share_group_norm=True))
    )
    assert together.isfinite().all()
    assert relative_error(together[1], plain[1]) > 1e-4
    if sampler not in COUPLE_THE_BATCH:
        assert relative_error(together[0], plain[0]) < 1e-5


@pytest.mark.parametrize("scheduler", comfy.samplers.KSampler.SCHEDULERS)
def test_every_scheduler(model, scheduler: str):
    plain, together = (
        sample(patcher, 2, steps=4, scheduler=scheduler) for patcher in (model, shared(model, end_percent=0.9))
    )
    assert torch.equal(together[0], plain[0])
    assert relative_error(together[1], plain[1]) > 1e-4
