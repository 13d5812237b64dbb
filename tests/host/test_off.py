"""Off is bit-identical to the host, and nothing outlives a run."""

from __future__ import annotations

import pytest
import torch
from sampling import sample, shared
from style_aligned.shared_attention.host.calls import current_call
from tiny_models import tiny_model

FULL = {"shift": 0.5, "share_group_norm": True}


@pytest.fixture(scope="module")
def model():
    return tiny_model("sdxl")


def fingerprint(patcher) -> dict:
    """All that sampling could leave behind: attributes of every module, weights, options, hooks and wrappers."""
    model = patcher.model
    modules = {
        name: (sorted(module.__dict__), len(module._forward_hooks), len(module._forward_pre_hooks))
        for name, module in model.named_modules()
    }
    return {
        "modules": modules,
        "weights": {name: weight.clone() for name, weight in model.state_dict().items()},
        "options": repr(patcher.model_options),
        "wrappers": repr(patcher.wrappers),
        "patches": (dict(patcher.patches), dict(patcher.object_patches), dict(patcher.object_patches_backup)),
    }


def assert_same(before: dict, after: dict) -> None:
    for name in ("modules", "options", "wrappers", "patches"):
        assert before[name] == after[name]
    assert all(torch.equal(weight, after["weights"][name]) for name, weight in before["weights"].items())


@pytest.mark.parametrize(
    "off",
    [
        {"end_percent": 0.0},
        {"start_percent": 1.0},
        {"strength": 0.0},
    ],
    ids=str,
)
def test_off_is_bit_identical(model, off: dict):
    assert torch.equal(sample(shared(model, **FULL, **off), steps=4), sample(model, steps=4))


def test_steps_before_the_range_are_bit_identical(model):
    """The first half of the run, and the second where it starts from the same latent."""
    late = shared(model, **FULL, start_percent=0.5)
    assert torch.equal(sample(late, steps=6, last_step=2), sample(model, steps=6, last_step=2))
    assert not torch.equal(sample(late, steps=6), sample(model, steps=6))


def test_the_range_is_the_hosts(model):
    """As the host schedules conditionings: on for the model calls whose sigma lies within, both ends included."""
    sampling = model.get_model_object("model_sampling")
    first, last = sampling.percent_to_sigma(0.2), sampling.percent_to_sigma(0.6)
    half = shared(model, start_percent=0.2, end_percent=0.6)
    seen: list[tuple[float, bool]] = []

    def note(apply_model, arguments):
        out = apply_model(arguments["input"], arguments["timestep"], **arguments["c"])
        seen.append((float(arguments["timestep"][0]), note.shared))
        note.shared = False
        return out

    def override(attention, query, key, *args, **kwargs):
        note.shared |= key.shape[1] == 2 * query.shape[1]
        return attention(query, key, *args, **kwargs)

    note.shared = False
    half.set_model_unet_function_wrapper(note)
    half.model_options["transformer_options"]["optimized_attention_override"] = override
    sample(half, steps=12)
    assert [was_shared for _, was_shared in seen] == [last <= sigma <= first for sigma, _ in seen]
    assert {was_shared for _, was_shared in seen} == {True, False}


def test_nothing_remains_after_a_run(model):
    other = model.clone()
    sharing = shared(model, **FULL)
    sample(model), sample(sharing)  # the host's own bookkeeping of a first run
    before, before_other = fingerprint(model), fingerprint(other)
    plain = sample(model)
    sample(sharing)
    assert_same(before, fingerprint(model))
    assert_same(before_other, fingerprint(other))
    assert torch.equal(sample(model), plain)
    assert torch.equal(sample(other), plain)
    assert current_call.get() is None


class Interrupted(Exception):
    """Raised in the middle of a model call."""


@pytest.mark.parametrize("block", ["input", "middle", "output"])
def test_nothing_remains_after_a_run_that_raised(model, block: str):
    plain = sample(model)
    before = fingerprint(model)
    failing = shared(model, **FULL)

    def fail(n, extra_options):
        if extra_options["block"][0] == block:
            raise Interrupted
        return n

    failing.set_model_attn2_output_patch(fail)
    with pytest.raises(Interrupted):
        sample(failing)
    assert_same(before, fingerprint(model))
    assert torch.equal(sample(model), plain)
    assert current_call.get() is None


def test_the_node_does_not_change_its_input(model):
    before = fingerprint(model)
    shared(model, **FULL)
    assert_same(before, fingerprint(model))


def test_running_twice_gives_the_same(model):
    """The host caches a node's output over prompts."""
    sharing = shared(model, **FULL)
    assert torch.equal(sample(sharing), sample(sharing))


def test_a_later_node_takes_an_earlier_ones_place(model, caplog: pytest.LogCaptureFixture):
    with caplog.at_level("INFO"):
        twice = shared(shared(model, scale=0.3), **FULL)
    assert "shared attention already; the later node's is used" in caplog.text
    assert torch.equal(sample(twice), sample(shared(model, **FULL)))
