"""A reference apart from the batch, in every family: equal to the rows of a batch, and of any size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import comfy.sample
import pytest
import torch
from apart_joint_oracle import ApartJointOracle
from apart_memory import noted_bytes
from apart_oracles import Apart
from joint_oracle import Sharing
from oracles import relative_error
from runs import run, shared_everywhere, variants
from sampling import rows_of, shared
from style_aligned.nodes.record import StyleAlignedRecord
from style_aligned.nodes.reference import StyleAlignedReference
from style_aligned.nodes.reference_latent import StyleAlignedReferenceLatent
from style_aligned.shared_attention.conditioning import batch_conditionings
from style_aligned.shared_attention.host.apart.memory import bytes_kept
from style_aligned.shared_attention.host.apart.references import Reference
from style_aligned.shared_attention.keeping import THINNINGS
from style_aligned.shared_attention.layers import LayerSelection
from style_aligned.shared_attention.sources import Bank
from torch import Tensor
from variant import Variant

TARGETS = 2


def without_pictures(conditioning: list[list[Any]]) -> list[list[Any]]:
    """Without those of the targets: in their place a reference has itself."""
    names = ("concat_latent_image", "concat_mask", "reference_latents")
    return [
        [text, {key: value for key, value in options.items() if key not in names}] for text, options in conditioning
    ]


def picture(variant: Variant) -> Tensor:
    return 0.5 * variant.noise(1, seed=99)


def sampled(model: Any, latents: Tensor, noise: Tensor, positive: Any, negative: Any, cfg: float) -> Tensor:
    return comfy.sample.sample(
        model, noise, 2, cfg, "euler", "simple", positive, negative, latents, seed=3, disable_pbar=True
    )


OF_ONE_FRAME = [each for each in variants() if each.id != "qwen_image_layered"]


@pytest.mark.parametrize("cfg", [4.0, pytest.param(1.0, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("variant", OF_ONE_FRAME, indirect=True)
def test_it_equals_a_row_of_the_batch(variant: Variant, cfg: float) -> None:
    model = shared(variant.model(), blocks="all", shift=0.3)
    positive, negative = variant.conditioning(1 + TARGETS, seed=1), variant.conditioning(1, seed=2)
    noise = variant.noise(1 + TARGETS)
    held, latent = StyleAlignedReferenceLatent.execute(model, {"samples": picture(variant)}, TARGETS, "noise").result

    expected = sampled(held, latent["samples"], noise, positive, negative, cfg)[1:]

    own = without_pictures(rows_of(positive, slice(0, 1)))
    apart = StyleAlignedReference.execute(model, {"samples": picture(variant)}, conditioning=own).result[0]
    text = rows_of(positive, slice(1, None))
    actual = sampled(apart, latent["samples"][1:], noise[1:], text, negative, cfg)
    assert relative_error(actual, expected) < 1e-5
    unshared = sampled(variant.model(), latent["samples"][1:], noise[1:], text, negative, cfg)
    assert relative_error(unshared, expected) > 1e-3


def resized(variant: Variant, height: int, width: int) -> Variant:
    return replace(variant, latent=(*variant.latent[:-2], height, width))


def seen(variant: Variant, conditioning: list[list[Any]], latent: Tensor) -> list[list[Any]]:
    """`conditioning` with what an inpainting model sees of a reference: all of it."""
    if variant.name != "flux_fill":
        return conditioning
    pictures = {"concat_latent_image": latent, "concat_mask": torch.zeros_like(latent[:, :1])}
    return [[text, {**options, **pictures}] for text, options in conditioning]


def may_differ(variant: Variant) -> bool:
    """Whether prompts may be of another length than the variant's."""
    return "attention_mask" not in variant.conditioning()[0][1]


def sizes(variant: Variant) -> list[tuple[int, int]]:
    height, width = variant.latent[-2:]
    return [(height, width + 4), (height + 2, width - 2)]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        pytest.param({"positions": "same", "shift": 0.3, "low": 1.4}, marks=pytest.mark.thorough),
        pytest.param({"positions": "none", "strength": 0.5, "high": 0.6}, marks=pytest.mark.thorough),
    ],
    ids=str,
)
@pytest.mark.parametrize("variant", OF_ONE_FRAME, indirect=True)
def test_sizes_and_weights_against_the_oracle(variant: Variant, settings: dict[str, Any]) -> None:
    if "positions" in settings and not variant.is_rotary:
        settings = {name: settings[name] for name in settings if name in ("shift", "strength")}
    model, references = shared_everywhere(variant.model(), **settings), []
    for number, (size, weight) in enumerate(zip(sizes(variant), (1.0, 0.4), strict=True)):
        of_size = resized(variant, *size)
        prompt = of_size.conditioning(1, seed=40 + number, text=variant.text + (number if may_differ(variant) else 0))
        negative, latent = of_size.conditioning(1, seed=50 + number), picture(of_size)
        references.append(Apart(latent, seen(variant, prompt, latent), seen(variant, negative, latent), weight))
        model = StyleAlignedReference.execute(
            model, {"samples": latent}, conditioning=prompt, negative=negative, weight=weight
        ).result[0]
    steps = 1 if settings else 2  # what settings change shows in one call
    expected = run(ApartJointOracle(variant, references, Sharing(**settings)).patcher, variant, 2, steps=steps)
    assert relative_error(run(model, variant, 2, steps=steps), expected) < 1e-5


@pytest.mark.parametrize("thin", ["1/4", "1/9"])
@pytest.mark.parametrize("variant", variants("flux_dev", "qwen_image", "z_image", "sd35_medium"), indirect=True)
def test_thinned_tokens_stand_where_they_stood(variant: Variant, thin: str) -> None:
    of_size = resized(variant, variant.latent[-2] + 2, variant.latent[-1] - 2)
    prompt, negative = of_size.conditioning(1, seed=40, text=variant.text), of_size.conditioning(1, seed=50)
    reference = Apart(picture(of_size), prompt, negative, stride=THINNINGS[thin])
    model = StyleAlignedReference.execute(
        shared_everywhere(variant.model()),
        {"samples": reference.samples},
        conditioning=prompt,
        negative=negative,
        thin=thin,
    ).result[0]
    expected = run(ApartJointOracle(variant, [reference], Sharing()).patcher, variant, 2)
    assert relative_error(run(model, variant, 2), expected) < 1e-5


@pytest.mark.parametrize("variant", variants("qwen_image_layered"), indirect=True)
def test_an_image_is_the_reference_of_layers(variant: Variant) -> None:
    one = replace(variant, latent=(variant.latent[0], 1, *variant.latent[2:]))
    model = StyleAlignedReference.execute(shared(variant.model(), blocks="all"), {"samples": picture(one)}).result[0]
    assert relative_error(run(model, variant, 1), run(variant.model(), variant, 1)) > 1e-3


@pytest.mark.parametrize(
    "variant", variants("flux_dev", "qwen_image", "z_image", "krea2", "sd35_medium"), indirect=True
)
def test_a_recorded_picture_gives_what_a_batch_gives(variant: Variant) -> None:
    model, positive = shared(variant.model(), blocks="all"), variant.conditioning(2, seed=1)
    together = run(model, variant, 2, positive=positive)
    recording, path = StyleAlignedRecord.execute(model).result
    one = {"positive": rows_of(positive, slice(1)), "initial": variant.noise(2)[:1]}
    first = run(recording, variant, 1, **one)
    later = StyleAlignedReference.execute(
        model, {"samples": first}, conditioning=one["positive"], trajectory=path
    ).result[0]
    other = {"positive": rows_of(positive, slice(1, 2)), "initial": variant.noise(2)[1:]}
    assert relative_error(run(later, variant, 1, **other), together[1:]) < 1e-5


@pytest.mark.thorough
@pytest.mark.parametrize("variant", OF_ONE_FRAME, indirect=True)
def test_the_estimate_is_what_is_kept(variant: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    model, found = variant.model(), noted_bytes(monkeypatch)
    apart = StyleAlignedReference.execute(shared(model, blocks="all"), {"samples": picture(variant)}).result[0]
    run(apart, variant, 1, cfg=1.0)
    estimated = bytes_kept(model, Reference(picture(variant)), LayerSelection.parse("all"))
    assert list(found.values()) == [estimated]


@pytest.mark.parametrize("variant", variants("sd3", "auraflow", "hidream_i1"), indirect=True)
def test_more_than_the_models_positions_is_refused(variant: Variant) -> None:
    large = replace(variant, latent=(variant.latent[0], 600, 600))
    with pytest.raises(ValueError, match="this model has positions for"):
        StyleAlignedReference.execute(variant.model(), {"samples": picture(large)})


@pytest.mark.parametrize("variant", variants("flux_dev", "z_image", "qwen_image"), indirect=True)
def test_lines_of_unlike_length_are_all_targets(variant: Variant) -> None:
    """Each is what it is alone with the reference; beside a given row, both count."""
    shared_model, noise = shared(variant.model(), blocks="all"), variant.noise(3)
    lines = [variant.conditioning(1, seed=10 + row, text=length) for row, length in enumerate((6, 9, 4))]
    together = batch_conditionings(lines, tokens_repeat=False)
    assert len(together) == len(lines)
    given = {"samples": picture(replace(variant, latent=(*variant.latent[:-1], variant.latent[-1] + 4)))}
    model = StyleAlignedReference.execute(shared_model, given, conditioning=lines[2]).result[0]

    actual = run(model, variant, 3, positive=together)

    for row, line in enumerate(lines):
        own = slice(row, row + 1)
        alone = run(model, variant, 1, positive=line, initial=noise[own])
        assert relative_error(actual[own], alone) < 1e-5
    held, latent = StyleAlignedReferenceLatent.execute(model, {"samples": picture(variant)}, 2, "noise").result
    rows = run(held, variant, 3, positive=together, latent=latent["samples"])
    both = StyleAlignedReference.execute(model, {"samples": picture(variant)}, conditioning=lines[0]).result[0]
    alone = run(both, variant, 1, positive=lines[1], initial=noise[1:2], latent=latent["samples"][1:2])
    assert relative_error(rows[1:2], alone) < 1e-5


@pytest.mark.parametrize("variant", variants("flux_dev"), indirect=True)
def test_layers_have_one_thinned_rotation(variant: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Tensor] = []
    keep = Bank.keep

    def noting(bank: Bank, slot: Any, conditionings: Any, features: Any) -> None:
        kept.append(features.rotation)
        keep(bank, slot, conditionings, features)

    monkeypatch.setattr(Bank, "keep", noting)
    model = StyleAlignedReference.execute(
        shared(variant.model(), blocks="all"), {"samples": picture(variant)}, thin="1/4"
    ).result[0]
    run(model, variant, 1, cfg=1.0)
    layers = len(kept) // 2  # of two steps
    assert layers > 1
    assert all(each is kept[0] for each in kept[:layers])
