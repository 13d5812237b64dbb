"""Noise masks are of the targets."""

from __future__ import annotations

import pytest
import torch
from given_reference import ksampler, picture, seen_by_the_model, with_reference
from oracles import relative_error
from sampling import shared
from style_aligned.shared_attention.fixed_noise import fixed_noise


@pytest.mark.parametrize("rows", [1, 3])
def test_a_noise_mask_never_masks_the_reference_away(model, rows: int):
    mask = torch.zeros(rows, 8, 8)
    mask[:, :, 4:] = 1
    patched, latent = with_reference(shared(model), start_from="reference", reference={"noise_mask": mask[:1]})
    calls = seen_by_the_model(patched)
    samples = ksampler(patched, {**latent, "noise_mask": mask})
    assert torch.equal(samples[:1], picture())
    torch.testing.assert_close(samples[1:, :, :, :4], picture()[..., :4].repeat(2, 1, 1, 1))
    assert relative_error(samples[1:, :, :, 4:], picture()[..., 4:].repeat(2, 1, 1, 1)) > 1e-2
    clean = model.model.process_latent_in(picture())
    for sigma, seen in calls:
        torch.testing.assert_close(seen, clean + sigma * fixed_noise(picture()), rtol=1e-5, atol=1e-4)


def test_a_mask_of_the_reference_is_kept_for_reworking_it_only(model):
    mask = torch.ones(1, 8, 8)
    assert "noise_mask" in with_reference(model, start_from="reference", reference={"noise_mask": mask})[1]
    assert "noise_mask" not in with_reference(model, start_from="noise", reference={"noise_mask": mask})[1]
