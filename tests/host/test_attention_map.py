"""Where targets look, recorded while UNets sample: against dense attention in float64, in all kinds of runs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from apart_references import apart
from given_reference import ksampler, with_reference
from masked_oracles import Given, MaskedUNet
from oracles import attention
from sampling import rows_of, sample, shared
from style_aligned.nodes.attention_map import StyleAlignedRecordAttention
from style_aligned.nodes.masks import StyleAlignedMasks
from style_aligned.shared_attention.attention_map.recording import AttentionRecord, Look
from style_aligned.shared_attention.conditioning import batch_conditionings
from style_aligned.shared_attention.host import backend
from style_aligned.shared_attention.host.recorded_attention import KEY
from tiny_models import conditioning, tiny_model
from torch import Tensor

STYLE = torch.linspace(0, 1, 12 * 8).view(12, 8)
TARGETS = torch.stack([torch.ones(8, 8), torch.linspace(0, 1, 64).view(8, 8)])


def recorded(model: Any, steps: int = 100) -> tuple[Any, AttentionRecord]:
    return StyleAlignedRecordAttention.execute(model, steps).result


def looks_of(record: AttentionRecord, images: int = 3) -> list[Look]:
    return record.run_of(images).looks


class LookingUNet(MaskedUNet):
    """It keeps, in order, what share of each query's attention the reference has: a (tokens,) for each target."""

    def __init__(self, *args: Any) -> None:
        self.masses: list[Tensor] = []
        self.kinds: list[int] = []
        super().__init__(*args)

    def _note_layout(self, apply_model: Any, arguments: dict[str, Any]) -> Tensor:
        self.kinds = [kind for kind in arguments["cond_or_uncond"] for _ in range(2)]
        self.asked = 0
        return super()._note_layout(apply_model, arguments)

    def _attend(self, own: list[Tensor], reference: list[Tensor], counts: Tensor, heads: int) -> Tensor:
        query, keys, values, bias = self._extended(own, reference, counts)
        number, tokens = self.asked % len(self.kinds), len(own[1])
        if self.kinds[number] == 0:
            of_reference = torch.cat([torch.zeros_like(own[2]), torch.ones_like(reference[2])])
            mass = attention(query, keys, of_reference, heads, bias).mean(-1)
            self.masses.append(mass * self.given.of_target(number % 2, *self._grid(tokens)))
        self.asked += 1
        return attention(query, keys, values, heads, bias)


OPTIONS: list[dict[str, Any]] = [{}, {"shift": 0.7, "strength": 0.4, "scale": 0.8, "adain_values": True}]


@pytest.mark.parametrize("given", [Given(), Given(STYLE, TARGETS)], ids=["no masks", "masks"])
@pytest.mark.parametrize("takes_bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_against_the_dense_oracle(
    options: dict[str, Any], takes_bias: bool, given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not takes_bias:
        monkeypatch.setattr(backend, "TAKE_A_MASK", frozenset())
    model = StyleAlignedMasks.execute(shared(tiny_model("sd15"), **options), given.style, given.target).result[0]
    model, record = recorded(model)
    sample(model, 3, steps=2)
    oracle = LookingUNet("sd15", given, options)
    sample(oracle.patcher, 3, steps=2)
    looks = looks_of(record)
    assert len(oracle.masses) == 2 * len(looks)
    for number, look in enumerate(looks):
        expected = torch.stack(oracle.masses[2 * number : 2 * number + 2])
        assert torch.allclose(look.seen[0].mass.flatten(1).double(), expected, atol=1e-5)


def test_it_changes_nothing_and_leaves_nothing() -> None:
    model = shared(tiny_model("sd15"), share_group_norm=True)
    watched, record = recorded(model)
    assert torch.equal(sample(watched, 3), sample(model, 3))
    assert KEY not in model.model_options["transformer_options"]
    [run] = record._runs
    assert {seen.mass.device.type for look in run.looks for seen in look.seen} == {"cpu"}
    assert {look.targets for look in run.looks} == {(1, 2)}
    assert all(seen.mass.min() >= 0 and seen.mass.max() <= 1 for look in run.looks for seen in look.seen)


def test_some_steps_evenly_spread() -> None:
    model, record = recorded(shared(tiny_model("sd15")), steps=2)
    sample(model, 2, steps=8)
    looks = looks_of(record, 2)
    assert sorted({look.progress for look in looks}) == [2 / 8, 6 / 8]
    layers = [look.layer for look in looks if look.progress == 2 / 8]
    assert len(layers) == len(looks) / 2  # each step once, whatever chunks the host calls the model with


def test_only_steps_that_share() -> None:
    model, record = recorded(shared(tiny_model("sd15"), start_percent=0.5), steps=3)
    sample(model, 2, steps=8)
    assert len({look.progress for look in looks_of(record, 2)}) == 3
    assert min(look.progress for look in looks_of(record, 2)) >= 0.5


@pytest.mark.parametrize("sampler", ["heun", "dpmpp_sde", "euler_ancestral_cfg_pp", "dpm_adaptive"])
def test_any_sampler(sampler: str) -> None:
    model, record = recorded(shared(tiny_model("sd15")), steps=3)
    sample(model, 2, steps=6, sampler=sampler, scheduler="karras")
    fewest = 2 if sampler == "dpm_adaptive" else 3  # which goes in strides of its own
    assert fewest <= len({look.progress for look in looks_of(record, 2)}) <= 3


def test_a_reference_apart_is_looked_at_as_one_in_the_batch() -> None:
    model, of_all = shared(tiny_model("sd15")), conditioning(3)
    held, latent = with_reference(model)
    held, beside = recorded(held)
    ksampler(held, latent, positive=of_all)
    own, others = rows_of(of_all, slice(1)), rows_of(of_all, slice(1, None))
    alone, record = recorded(apart(model, conditioning=own))
    ksampler(alone, {"samples": latent["samples"][1:], "batch_index": [0, 1]}, positive=others)
    assert not record.run_of(2).has_reference
    assert beside.run_of(3).has_reference
    for one, other in zip(looks_of(beside), looks_of(record, 2), strict=True):
        assert (one.layer, one.progress) == (other.layer, other.progress)
        assert (one.targets, other.targets) == ((1, 2), (0, 1))
        assert torch.allclose(one.seen[0].mass, other.seen[0].mass, atol=1e-5)
        assert torch.allclose(one.seen[0].places, other.seen[0].places, atol=1e-3)


@pytest.mark.parametrize("thin", ["all", "1/4"])
def test_two_references(thin: str) -> None:
    """Twice the same is once at twice the weight."""
    one = shared(tiny_model("sd15"))
    twice, record = recorded(apart(apart(one, thin=thin), thin=thin))
    once, alone = recorded(apart(one, thin=thin, weight=2.0))
    for model in (twice, once):
        sample(model, 2)
    for both, single in zip(looks_of(record, 2), looks_of(alone, 2), strict=True):
        assert [seen.reference for seen in both.seen] == [0, 1]
        assert torch.allclose(both.seen[0].mass, both.seen[1].mass, atol=1e-6)
        assert torch.allclose(both.seen[0].mass + both.seen[1].mass, single.seen[0].mass, atol=1e-5)


def test_lines_of_unlike_length() -> None:
    lines = [conditioning(1, seed=10 + row, tokens=77 * (1 + row % 2)) for row in range(3)]
    model, record = recorded(shared(tiny_model("sd15")))
    sample(model, 3, steps=2, positive=batch_conditionings(lines, tokens_repeat=False))
    assert {look.targets for look in looks_of(record)} == {(1,), (2,)}


def test_a_run_that_raises_is_not_recorded() -> None:
    model, record = recorded(shared(tiny_model("sd15")))

    def fail(*_: Any) -> None:
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        sample(model, 3, callback=fail)
    with pytest.raises(ValueError, match="Nothing has been recorded"):
        record.run_of(3)


def test_without_sharing_it_does_nothing_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    plain = tiny_model("sd15")
    model, record = recorded(plain)
    assert torch.equal(sample(model, 2), sample(plain, 2))
    assert "Record Attention does nothing, as attention is not shared" in caplog.text
    with pytest.raises(ValueError, match="Nothing has been recorded"):
        record.run_of(2)


def test_the_last_run_of_a_size_is_the_one() -> None:
    model, record = recorded(shared(tiny_model("sd15")))
    for images in (2, 3, 3):
        sample(model, images, steps=1, cfg=1.0)
    assert record.run_of(3) is record._runs[-1]
    assert record.run_of(2).images == 2
    with pytest.raises(ValueError, match=r"There are 5 images, and .* runs of 2 and 3"):
        record.run_of(5)
