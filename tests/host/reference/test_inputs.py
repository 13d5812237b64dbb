"""What Reference Latent refuses, in the user's words."""

from __future__ import annotations

import inspect

import comfy.model_sampling
import comfy.sample
import comfy.samplers
import pytest
import torch
from given_reference import ksampler, with_reference
from torch import Tensor


def test_another_size_than_the_references_is_refused_before_sampling(model):
    patched, _ = with_reference(model)
    with pytest.raises(ValueError, match="Connect the latent output"):
        ksampler(patched, {"samples": torch.zeros(3, 4, 8, 16)})


@pytest.mark.parametrize(
    ("latent", "message"),
    [
        (torch.ones(3, 4, 8, 8), "has 3 images; give one"),
        (torch.zeros(1, 4, 8, 8), "is empty"),
        (torch.zeros(1, 4, 0, 8), "is empty"),
        (torch.ones(1, 16, 8, 8), "16 latent channels, this model has 4"),
        (torch.ones(1, 4, 5, 8, 8), "no image's latent"),
        (torch.full((1, 4, 8, 8), float("nan")), "no numbers"),
    ],
    ids=lambda value: str(tuple(value.shape)) if isinstance(value, Tensor) else "",
)
def test_bad_references_are_refused_by_name(model, latent: Tensor, message: str):
    with pytest.raises(ValueError, match=message):
        with_reference(model, latent)


def test_a_nested_latent_is_refused(model):
    from comfy.nested_tensor import NestedTensor

    with pytest.raises(ValueError, match="no image's latent"):
        with_reference(model, NestedTensor([torch.ones(1, 4, 8, 8), torch.ones(1, 4, 8)]))


def test_an_offset_needs_a_trajectory(model):
    with pytest.raises(ValueError, match=r"offset is 5 and needs a trajectory.*set offset to 0"):
        with_reference(model, offset=5)


def test_the_wrapper_matches_the_hosts_signature():
    """Its arguments are passed on by position."""
    from style_aligned.shared_attention.host.row.holding import ReferenceRow

    host = list(inspect.signature(comfy.samplers.CFGGuider.outer_sample).parameters)[1:]
    ours = list(inspect.signature(ReferenceRow.around_run).parameters)[2:]
    assert ours[: len(host) - 1] == host[:-1]
