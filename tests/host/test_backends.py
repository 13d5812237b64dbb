"""A shift and a strength act on every attention backend, with a mask or without; kernels of GPUs by stand-ins."""

from __future__ import annotations

import functools

import pytest
from comfy.ldm.modules import attention as host
from oracle_model import OracleModel
from oracles import relative_error
from sampling import sample, shared
from style_aligned.shared_attention.host.backend import TAKE_A_MASK

BIASED = [{"shift": 0.7}, {"shift": -4.0}, {"shift": 6.0}, {"strength": 0.2}, {"strength": 0.5, "shift": 1.0}]
ONE_STEP = {"steps": 1, "cfg": 2.0}


@pytest.fixture
def masks(monkeypatch: pytest.MonkeyPatch) -> list:
    """Every mask that SageAttention, which would drop it without a word, is given; its stand-in is the backend."""
    seen: list = []
    plain = host.optimized_attention

    @functools.wraps(plain)
    def attention_sage(query, key, value, heads, mask=None, **options):
        seen.append(mask)
        return plain(query, key, value, heads, mask=None, **options)

    attention_sage.__name__ = "attention_sage"
    monkeypatch.setattr(host, "optimized_attention", attention_sage)
    return seen


@pytest.mark.parametrize("options", BIASED, ids=str)
def test_a_kernel_without_a_mask(model, masks: list, options: dict, caplog: pytest.LogCaptureFixture):
    with caplog.at_level("INFO"):
        actual = sample(shared(model, **options), **ONE_STEP)
    assert relative_error(actual, sample(OracleModel("sd15", options).patcher, **ONE_STEP)) < 1e-5
    assert masks
    assert all(mask is None for mask in masks)
    assert caplog.text.count("takes no mask") == 1


def test_nothing_is_said_or_paid_without_a_bias(model, masks: list, caplog: pytest.LogCaptureFixture):
    with caplog.at_level("INFO"):
        sample(shared(model), **ONE_STEP)
    assert "takes no mask" not in caplog.text
    layers = len([name for name, _ in model.model.diffusion_model.named_modules() if name.endswith("attn1")])
    assert len(masks) == 3 * layers  # references, targets, text


@pytest.mark.parametrize("options", BIASED[:2], ids=str)
def test_another_nodes_attention(model, options: dict):
    """Nobody knows what it does with a mask; this one ignores it."""

    def override(attention, query, key, value, heads, *args, mask=None, **kwargs):
        return attention(query, key, value, heads, *args, **kwargs)

    clone = shared(model, **options)
    clone.model_options["transformer_options"]["optimized_attention_override"] = override
    assert relative_error(sample(clone, **ONE_STEP), sample(OracleModel("sd15", options).patcher, **ONE_STEP)) < 1e-5


@pytest.mark.parametrize("name", sorted(TAKE_A_MASK))
@pytest.mark.parametrize("options", BIASED, ids=str)
def test_the_hosts_own_kernels_take_a_mask(model, name: str, options: dict, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(host, "optimized_attention", getattr(host, name))
    actual = sample(shared(model, **options), **ONE_STEP)
    assert relative_error(actual, sample(OracleModel("sd15", options).patcher, **ONE_STEP)) < 1e-5


def test_the_hosts_default_is_known(model):
    """Otherwise a renamed function would quietly cost twice the attention's time."""
    assert host.optimized_attention.__name__ in TAKE_A_MASK
