"""A batch that is not the reference's own is refused, however it came about."""

from __future__ import annotations

import comfy_extras.nodes_custom_sampler as custom_sampler
import comfy_extras.nodes_rebatch as rebatch
import pytest
import torch
from given_reference import ksampler, picture, prediction, with_reference
from sampling import shared
from torch import Tensor

from nodes import EmptyLatentImage, LatentFromBatch, RepeatLatentBatch  # the host's

NOT_THE_REFERENCE = "first image of the latent to sample is not the given reference"
A_TARGET = "its first is a target, not the reference"


def halves(latent: dict, size: int = 2) -> list[dict]:
    return rebatch.LatentRebatch.execute([latent], [size]).result[0]


def from_batch(latent: dict, index: int, length: int = 1) -> dict:
    return LatentFromBatch().frombatch(latent, index, length)[0]


@pytest.mark.parametrize(("start_from", "message"), [("noise", NOT_THE_REFERENCE), ("reference", A_TARGET)])
@pytest.mark.parametrize("targets", [1, 3, 4])
def test_the_second_half_of_a_batch_loses_no_target(model, start_from: str, message: str, targets: int):
    patched, latent = with_reference(shared(model), targets=targets, start_from=start_from)
    size = (targets + 1) // 2
    first, *others = halves(latent, size)
    assert torch.equal(ksampler(patched, first)[:1], picture())
    for other in others:
        with pytest.raises(ValueError, match=message):
            ksampler(patched, other)


@pytest.mark.parametrize("start_from", ["noise", "reference"])
def test_a_target_that_was_sampled_is_no_reference(model, start_from: str):
    patched, latent = with_reference(shared(model), start_from=start_from)
    sampled = {**latent, "samples": ksampler(patched, latent)}
    for index in (1, 2):
        with pytest.raises(ValueError, match=NOT_THE_REFERENCE):
            ksampler(patched, from_batch(sampled, index), denoise=0.4)
        with pytest.raises(ValueError, match=NOT_THE_REFERENCE):
            ksampler(patched, from_batch(sampled, index), start_step=2, disable_noise=True)
    again = ksampler(patched, from_batch(sampled, 0, 2), denoise=0.4)
    assert torch.equal(again[:1], picture())
    assert torch.equal(ksampler(patched, from_batch(sampled, 0), denoise=0.4), picture())


def test_a_target_at_a_noise_level_is_no_reference(model):
    patched, latent = with_reference(shared(model))
    first = ksampler(patched, latent, last_step=2, force_full_denoise=False)
    for rows in (first[1:], first.flip(0)):
        with pytest.raises(ValueError, match=NOT_THE_REFERENCE):
            ksampler(patched, {"samples": rows}, start_step=2, disable_noise=True)


def test_a_target_that_starts_as_the_reference_is_none(model):
    patched, latent = with_reference(shared(model), start_from="reference")
    with pytest.raises(ValueError, match=A_TARGET):
        ksampler(patched, from_batch(latent, 2))
    reordered = {**latent, "batch_index": [1, 2, 0]}
    with pytest.raises(ValueError, match=A_TARGET):
        ksampler(patched, reordered)
    assert torch.equal(ksampler(patched, from_batch(latent, 0)), picture())


@pytest.mark.parametrize("start_from", ["noise", "reference"])
def test_a_set_whose_indices_another_node_dropped_is_whole(model, start_from: str):
    patched, latent = with_reference(shared(model), start_from=start_from)
    del latent["batch_index"]
    assert torch.equal(ksampler(patched, latent)[:1], picture())


def test_a_set_of_the_reference_alone(model):
    for start_from in ("noise", "reference"):
        assert torch.equal(ksampler(*with_reference(model, targets=0, start_from=start_from)), picture())


@pytest.mark.parametrize(
    "samples",
    [
        EmptyLatentImage().generate(64, 64, 3)[0]["samples"],
        picture(12).repeat(3, 1, 1, 1),
        -picture().repeat(3, 1, 1, 1),
        1.1 * picture().repeat(3, 1, 1, 1),
        torch.full((3, 4, 8, 8), float("nan")),
    ],
    ids=["empty", "another picture", "its negative", "brighter", "no numbers"],
)
@pytest.mark.parametrize("options", [{}, {"denoise": 0.5}, {"disable_noise": True, "start_step": 1}], ids=str)
def test_another_latent_is_refused(model, samples: Tensor, options: dict):
    patched, _ = with_reference(shared(model))
    with pytest.raises(ValueError, match=NOT_THE_REFERENCE):
        ksampler(patched, {"samples": samples}, **options)


@pytest.mark.parametrize("kind", ["v_prediction", "edm", "flow"])
@pytest.mark.parametrize("options", [{}, {"denoise": 0.5}, {"disable_noise": True}], ids=str)
def test_every_prediction_type_knows_its_own(kind: str, options: dict):
    """A flow's first level is pure noise, which has no latent without noise."""
    patched, latent = with_reference(prediction(kind))
    assert torch.equal(ksampler(patched, latent, **options)[:1], picture())
    for samples in (torch.zeros(3, 4, 8, 8), picture(12).repeat(3, 1, 1, 1), latent["samples"].flip(0)):
        with pytest.raises(ValueError, match=NOT_THE_REFERENCE):
            ksampler(patched, {**latent, "samples": samples}, **options)


def test_a_repeated_batch_is_the_sets_own_at_its_start(model):
    """What comes after the set are targets like any other."""
    patched, latent = with_reference(shared(model))
    repeated = RepeatLatentBatch().repeat(latent, 2)[0]
    assert torch.equal(ksampler(patched, repeated)[:1], picture())


def test_noise_that_another_node_gave_is_told_about(model):
    """Not the reference's own: the run would go on from one noise and end at another."""
    patched, latent = with_reference(model)
    sigmas = custom_sampler.BasicScheduler.execute(patched, "normal", 4, 1.0).result[0]
    noise = custom_sampler.RandomNoise.execute(3).result[0]
    added = custom_sampler.AddNoise.execute(patched, noise, sigmas, latent).result[0]
    with pytest.raises(ValueError, match="with the sampler's own noise"):
        ksampler(patched, added, disable_noise=True)
