"""References apart from the batch on UNets: against rows of a batch, and against dense oracles in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from apart_oracles import Apart, ApartUNet
from apart_references import apart
from every_day import every_day
from given_reference import ksampler, picture, with_reference
from oracles import relative_error
from sampling import noise, rows_of, sample, shared
from tiny_models import conditioning, tiny_model

TARGETS = 2


OPTIONS: list[dict[str, Any]] = [
    {},
    {"share_group_norm": True},
    {"scale": 0.7, "shift": 0.6931, "adain_values": True},
    {"shift": -1.0, "adain_queries": False, "adain_keys": False},
    {"strength": 0.4, "share_group_norm": True},
]


@pytest.mark.parametrize(
    ("family", "options"),
    [("sd15", options) for options in OPTIONS]
    + [(family, OPTIONS[1]) for family in ("sd2", "sdxl", "sdxl_refiner", "sd15_inpainting")],
    ids=str,
)
def test_it_equals_a_row_of_the_batch(family: str, options: dict[str, Any]) -> None:
    model, of_all = shared(tiny_model(family), **options), conditioning(1 + TARGETS)
    held, latent = with_reference(model)
    expected = ksampler(held, latent, positive=of_all)[1:]

    targets = {"samples": latent["samples"][1:], "batch_index": list(range(TARGETS))}
    own, others = rows_of(of_all, slice(1)), rows_of(of_all, slice(1, None))
    actual = ksampler(apart(model, conditioning=own), targets, positive=others)

    assert relative_error(actual, expected) < 1e-5
    assert relative_error(ksampler(tiny_model(family), targets, positive=others), expected) > 1e-3


@pytest.mark.parametrize("cfg", [4.0, 1.0])
def test_it_equals_a_row_in_separate_calls(cfg: float, split_calls: None) -> None:
    model, of_all = shared(tiny_model("sd15")), conditioning(1 + TARGETS)
    held, latent = with_reference(model)
    expected = ksampler(held, latent, positive=of_all, cfg=cfg)[1:]
    targets = {"samples": latent["samples"][1:], "batch_index": list(range(TARGETS))}
    own, others = rows_of(of_all, slice(1)), rows_of(of_all, slice(1, None))
    assert relative_error(ksampler(apart(model, conditioning=own), targets, positive=others, cfg=cfg), expected) < 1e-5


SIZES = [(8, 8), (12, 6), (4, 10)]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("weights", every_day([(1.0,), (1.0, 0.3), (2.0, 0.5, 4.0)], [(1.0, 0.3)]), ids=str)
def test_sizes_and_weights_against_the_oracle(weights: tuple[float, ...], options: dict[str, Any]) -> None:
    pictures = [picture(30 + n, *SIZES[-n]) for n in range(len(weights))]
    model = shared(tiny_model("sd15"), **options)
    references = []
    for number, (each, weight) in enumerate(zip(pictures, weights, strict=True)):
        model = apart(model, each, seed=40 + number, weight=weight)
        references.append(Apart(each, conditioning(1, seed=40 + number), conditioning(1, seed=2), weight))
    settings = {name: value for name, value in options.items() if name != "share_group_norm"}
    oracle = ApartUNet("sd15", references, settings, options.get("share_group_norm", False))

    expected = sample(oracle.patcher, 2, steps=2)

    assert relative_error(sample(model, 2, steps=2), expected) < 1e-5


def test_weights_without_a_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    """On backends that take no mask the references' parts are merged by their mass."""
    model = shared(tiny_model("sd15"), shift=0.5)
    for number, weight in enumerate((2.0, 0.5, 1.0)):
        model = apart(model, picture(30 + number, *SIZES[number]), seed=40 + number, weight=weight)
    expected = sample(model, 2)
    monkeypatch.setattr("style_aligned.shared_attention.host.backend.TAKE_A_MASK", frozenset())
    assert relative_error(sample(model, 2), expected) < 1e-5


def test_the_order_of_references_makes_no_difference() -> None:
    model = shared(tiny_model("sd15"), share_group_norm=True)
    one = {"reference": picture(31, 12, 6), "seed": 41, "weight": 0.5}
    other = {"reference": picture(32), "seed": 42, "weight": 2.0}
    expected = sample(apart(apart(model, **one), **other))
    assert relative_error(sample(apart(apart(model, **other), **one)), expected) < 1e-5


def test_two_equal_references_of_weight_a_half_are_one() -> None:
    model = shared(tiny_model("sd15"), share_group_norm=True, strength=0.7)
    twice = apart(apart(model, weight=0.5), weight=0.5)
    assert relative_error(sample(twice), sample(apart(model))) < 1e-5


def test_weight_2_is_the_picture_twice() -> None:
    model = shared(tiny_model("sd15"))
    assert relative_error(sample(apart(model, weight=2.0)), sample(apart(apart(model)))) < 1e-5


@pytest.mark.parametrize("images", [1, 3])
def test_weight_0_is_the_reference_not_there(images: int) -> None:
    model = shared(tiny_model("sd15"))
    assert torch.equal(sample(apart(model, weight=0.0), images), sample(model, images))
    both = apart(apart(model), picture(33), weight=0.0)
    assert torch.equal(sample(both, images), sample(apart(model), images))


@pytest.mark.parametrize("options", [{"strength": 0.0}, {"end_percent": 0.0}, {"start_percent": 1.0}], ids=str)
def test_off_is_the_host_to_the_bit(options: dict[str, Any]) -> None:
    plain = sample(tiny_model("sd15"), 1)
    assert torch.equal(sample(apart(shared(tiny_model("sd15"), **options)), 1), plain)


def test_a_batch_of_one_takes_the_style() -> None:
    alone = sample(apart(shared(tiny_model("sd15"))), 1)
    assert relative_error(alone, sample(tiny_model("sd15"), 1)) > 1e-3


def test_images_do_not_depend_on_each_other() -> None:
    model = apart(shared(tiny_model("sd15")))
    positive = conditioning(3, seed=1)
    together = sample(model, 3, positive=positive)
    for image in range(3):
        own = slice(image, image + 1)
        alone = sample(model, 1, positive=rows_of(positive, own), initial=noise(3)[own])
        assert relative_error(alone, together[own]) < 1e-5


def test_a_given_row_counts_too() -> None:
    """Row 0 of Reference Latent and a reference apart: the same as both of them apart."""
    model, of_all = shared(tiny_model("sd15"), share_group_norm=True), conditioning(1 + TARGETS)
    other = {"reference": picture(32, 12, 6), "seed": 42, "weight": 0.5}
    held, latent = with_reference(apart(model, **other))
    actual = ksampler(held, latent, positive=of_all)
    assert torch.equal(actual[:1], latent["samples"][:1])
    own, others = rows_of(of_all, slice(1)), rows_of(of_all, slice(1, None))
    targets = {"samples": latent["samples"][1:], "batch_index": list(range(TARGETS))}
    both = apart(apart(model, conditioning=own), **other)
    assert relative_error(actual[1:], ksampler(both, targets, positive=others)) < 1e-5


def test_before_or_after_share_attention() -> None:
    after = apart(shared(tiny_model("sd15")))
    before = shared(apart(tiny_model("sd15")))
    assert torch.equal(sample(before), sample(after))


def test_weight_0_needs_nobody_to_read_it() -> None:
    assert torch.equal(sample(apart(tiny_model("sd15"), weight=0.0)), sample(tiny_model("sd15")))


def test_without_share_attention_it_says_what_is_missing() -> None:
    with pytest.raises(ValueError, match="add Style Aligned: Share Attention"):
        sample(apart(tiny_model("sd15")))


def test_an_empty_prompt_is_made_of_the_targets() -> None:
    """Without conditioning: zeros. Without a negative: that of the images."""
    model, negative = shared(tiny_model("sd15")), conditioning(1, seed=2)
    zeros = [[torch.zeros_like(negative[0][0]), {"pooled_output": torch.zeros_like(negative[0][1]["pooled_output"])}]]
    given = apart(model, conditioning=zeros, negative=negative)
    assert torch.equal(sample(apart(model, conditioning=None)), sample(given))
    other = apart(model, conditioning=zeros, negative=conditioning(1, seed=77))
    assert relative_error(sample(other), sample(given)) > 1e-4
