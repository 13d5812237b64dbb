"""However the host arranges its model calls, sharing is the same."""

from __future__ import annotations

import comfy.samplers
import comfy_extras.nodes_custom_sampler as custom_sampler
import comfy_extras.nodes_perpneg as perp_neg
import pytest
import torch
from oracle_model import OracleModel
from oracles import relative_error
from sampling import noise, sample, shared
from tiny_models import conditioning, tiny_model
from torch import Tensor

OPTIONS = {"shift": 0.5, "share_group_norm": True}


@pytest.fixture(scope="module")
def oracle():
    return OracleModel("sd15", {"shift": 0.5}, share_group_norm=True).patcher


def chunks_of_calls(model) -> list[list[int]]:
    """Fills up with the cond_or_uncond of each model call of `model`."""
    seen: list[list[int]] = []

    def wrapper(apply_model, arguments):
        seen.append(list(arguments["cond_or_uncond"]))
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    model.set_model_unet_function_wrapper(wrapper)
    return seen


@pytest.mark.parametrize("images", [2, 3, 4, 5])
def test_batches_of_any_size(model, oracle, images: int):
    actual = sample(shared(model, **OPTIONS), images, steps=1)
    assert relative_error(actual, sample(oracle, images, steps=1)) < 1e-5


@pytest.mark.parametrize("options", [{}, OPTIONS], ids=str)
def test_the_reference_is_what_it_is_without_sharing(model, options: dict):
    plain, together = sample(model, 4), sample(shared(model, **options), 4)
    assert torch.equal(together[0], plain[0])
    assert all(relative_error(together[row], plain[row]) > 1e-2 for row in (1, 2, 3))


@pytest.mark.parametrize("options", [{}, OPTIONS], ids=str)
def test_one_image_is_bit_identical_to_the_host(model, options: dict):
    assert torch.equal(sample(shared(model, **options), 1), sample(model, 1))


def rows(order: list[int]) -> tuple[Tensor, list]:
    [[embeddings, pooled]] = conditioning(4, seed=1)
    return noise(4)[order], [[embeddings[order], {"pooled_output": pooled["pooled_output"][order]}]]


@pytest.mark.parametrize("order", [[0, 2], [0, 1, 3], [0, 3, 2, 1], [0, 2, 1]])
def test_targets_do_not_depend_on_each_other(model, order: list[int]):
    together = sample(shared(model, **OPTIONS), 4)
    initial, positive = rows(order)
    apart = sample(shared(model, **OPTIONS), initial=initial, positive=positive)
    assert relative_error(apart, together[order]) < 1e-4


def test_the_reference_matters_to_every_target(model):
    initial, positive = rows([2, 1, 3])
    other = sample(shared(model), initial=initial, positive=positive)
    assert relative_error(other[1], sample(shared(model), 4)[1]) > 1e-2


@pytest.mark.usefixtures("split_calls")
def test_separate_calls_for_cond_and_uncond(model, oracle):
    sharing = shared(model, **OPTIONS)
    seen = chunks_of_calls(sharing)
    assert relative_error(sample(sharing, steps=1), sample(oracle, steps=1)) < 1e-5
    assert sorted(map(tuple, seen)) == [(0,), (1,)]


def test_split_and_unsplit_calls_agree(model, request: pytest.FixtureRequest):
    sharing = shared(model, **OPTIONS)
    seen = chunks_of_calls(sharing)
    together = sample(sharing)
    request.getfixturevalue("split_calls")
    apart = sample(sharing)
    assert {len(call) for call in seen} == {1, 2}
    assert relative_error(apart, together) < 1e-4


def test_without_guidance(model, oracle):
    """CFG 1: the host leaves the negative prompt out."""
    sharing = shared(model, **OPTIONS)
    seen = chunks_of_calls(sharing)
    assert relative_error(sample(sharing, cfg=1.0, steps=1), sample(oracle, cfg=1.0, steps=1)) < 1e-5
    assert seen == [[0]]


def test_uncond_first_and_cond_first(model, oracle):
    """A negative prompt of another length cannot join the call before it; a third chunk can."""
    negative = conditioning(1, tokens=8, seed=2) + conditioning(1, tokens=24, seed=5)
    sharing = shared(model, **OPTIONS)
    seen = chunks_of_calls(sharing)
    arguments = {"negative": negative, "steps": 1}
    assert relative_error(sample(sharing, **arguments), sample(oracle, **arguments)) < 1e-5
    assert max(map(len, seen)) == 3


def test_several_positives(model, oracle):
    positive = conditioning(3, seed=1) + conditioning(3, seed=4)
    sharing = shared(model, **OPTIONS)
    seen = chunks_of_calls(sharing)
    arguments = {"positive": positive, "steps": 1}
    assert relative_error(sample(sharing, **arguments), sample(oracle, **arguments)) < 1e-5
    assert sorted(seen[0]) == [0, 0, 1]


def test_areas(model, oracle):
    """A positive of a part of the image has calls of its own size."""
    positive = conditioning(3, seed=1) + conditioning(3, seed=4, area=(4, 6, 2, 1), strength=0.8)
    arguments = {"positive": positive, "steps": 1}
    actual = sample(shared(model, **OPTIONS), **arguments)
    assert relative_error(actual, sample(oracle, **arguments)) < 1e-5


@pytest.mark.parametrize("size", [(7, 11), (8, 8), (12, 4), (5, 9)])
def test_any_size_of_image(model, oracle, size: tuple[int, int]):
    """7 x 11 is 77 tokens, as many as a prompt has."""
    initial = noise(2, *size)
    positive = conditioning(2, tokens=77)
    arguments = {"initial": initial, "positive": positive, "steps": 1}
    assert relative_error(sample(shared(model, **OPTIONS), **arguments), sample(oracle, **arguments)) < 1e-5


def guided(guider, initial: Tensor) -> Tensor:
    sigmas = torch.tensor([7.0, 3.0])
    sampler = comfy.samplers.sampler_object("euler")
    return guider.sample(initial, torch.zeros_like(initial), sampler, sigmas, disable_pbar=True, seed=1)


@pytest.mark.parametrize("split", [False, True])
def test_three_way_guidance(model, oracle, split: bool, request: pytest.FixtureRequest):
    if split:
        request.getfixturevalue("split_calls")
    conditions = conditioning(3, seed=1), conditioning(1, seed=2), conditioning(3, seed=3)

    def dual(patcher, style):
        return custom_sampler.DualCFGGuider.execute(patcher, *conditions, 4.0, 3.0, style).result[0]

    def perpendicular(patcher):
        return perp_neg.PerpNegGuider.execute(patcher, *conditions, 4.0, 1.0).result[0]

    for build in (lambda patcher: dual(patcher, "regular"), lambda patcher: dual(patcher, "nested"), perpendicular):
        sharing = shared(model, **OPTIONS)
        seen = chunks_of_calls(sharing)
        actual = guided(build(sharing), noise(3))
        assert relative_error(actual, guided(build(oracle), noise(3))) < 1e-5
        assert {len(call) for call in seen} == ({1} if split else {3})


def test_windows_of_a_batch(model, caplog: pytest.LogCaptureFixture):
    """Images of a window without the reference are as the host makes them, the others share."""
    import comfy.context_windows

    sharing, plain = shared(model), model.clone()
    for patcher in (sharing, plain):
        patcher.model_options["context_handler"] = comfy.context_windows.IndexListContextHandler(
            comfy.context_windows.get_matching_context_schedule("standard_static"),
            comfy.context_windows.get_matching_fuse_method("pyramid"),
            context_length=2,
            context_overlap=0,
            dim=0,
        )
    windowed, alone = sample(sharing, 4, steps=1), sample(plain, 4, steps=1)
    assert torch.equal(windowed[[0, 2, 3]], alone[[0, 2, 3]])
    pair = sample(shared(model), 4, steps=1)
    assert relative_error(windowed[1], pair[1]) < 1e-5


@pytest.mark.parametrize("attention", ["sub_quad", "split", "pytorch", "basic"])
def test_every_attention_of_the_host(model, oracle, attention: str):
    from comfy.ldm.modules import attention as host

    function = getattr(host, f"attention_{attention}")
    sharing = shared(model, **OPTIONS)
    sharing.model_options["transformer_options"]["optimized_attention_override"] = lambda _, *args, **kwargs: function(
        *args, **kwargs
    )
    assert relative_error(sample(sharing, steps=1), sample(oracle, steps=1)) < 1e-5


def test_a_guider_of_two_models(model):
    """Each model's own references are read in its calls; both know the run."""
    other = tiny_model("sd15", seed=1)
    positive, negative = conditioning(3, seed=1), conditioning(3, seed=2)
    alone = {"steps": 1, "cfg": 1.0}
    cond = sample(shared(model, **OPTIONS), positive=positive, **alone)
    uncond = sample(shared(other, **OPTIONS), positive=negative, **alone)
    guider = custom_sampler.DualModelGuider.execute(
        shared(model, **OPTIONS), positive, 4.0, shared(other, **OPTIONS), negative
    ).result[0]
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", 1)
    sampler, initial = comfy.samplers.sampler_object("euler"), noise(3)
    together = guider.sample(initial, torch.zeros_like(initial), sampler, sigmas, disable_pbar=True, seed=3)
    assert relative_error(together, uncond + 4.0 * (cond - uncond)) < 1e-5
