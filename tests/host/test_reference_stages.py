"""A given reference through several stages of sampling."""

from __future__ import annotations

import pytest
import torch
from given_reference import fixed_noise, ksampler, picture, seen_by_the_model, with_reference
from sampling import shared
from tiny_models import smooth_model


@pytest.fixture(scope="module")
def model():
    return smooth_model()


def test_two_stages_with_leftover_noise(model):
    """KSampler Advanced: the second stage adds no noise, and the reference goes on with the first one's."""
    patched, latent = with_reference(shared(model))
    calls = seen_by_the_model(patched)
    first = ksampler(patched, latent, steps=6, last_step=3, force_full_denoise=False)
    assert torch.equal(first[:1], picture())
    second = ksampler(
        patched, {**latent, "samples": first}, steps=6, start_step=3, disable_noise=True, force_full_denoise=True
    )
    assert torch.equal(second[:1], picture())
    whole = ksampler(patched, latent, steps=6)
    torch.testing.assert_close(second, whole, rtol=1e-4, atol=1e-3)
    clean = model.model.process_latent_in(picture())
    for sigma, seen in calls:
        torch.testing.assert_close(seen, clean + sigma * fixed_noise(), rtol=1e-5, atol=1e-4)
