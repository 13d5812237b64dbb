"""A reference apart from the batch, in every family: equal to the rows of a batch, and of any size."""

from __future__ import annotations

from typing import Any

import comfy.sample
import pytest
from oracles import relative_error
from runs import variants
from sampling import shared
from style_aligned.nodes.reference import StyleAlignedReference
from style_aligned.nodes.reference_latent import StyleAlignedReferenceLatent
from torch import Tensor
from variant import Variant

TARGETS = 2


def rows_of(conditioning: list[list[Any]], rows: slice) -> list[list[Any]]:
    """The CONDITIONING of some of the rows of a batch."""
    [[embeddings, options]] = conditioning
    count = len(embeddings)

    def picked(value: Any) -> Any:
        if isinstance(value, list):
            return [picked(each) for each in value]
        return value[rows] if isinstance(value, Tensor) and value.ndim and len(value) == count else value

    return [[embeddings[rows], {name: picked(value) for name, value in options.items()}]]


def picture(variant: Variant) -> Tensor:
    return 0.5 * variant.noise(1, seed=99)


def sampled(model: Any, latents: Tensor, noise: Tensor, positive: Any, negative: Any, cfg: float) -> Tensor:
    return comfy.sample.sample(
        model, noise, 2, cfg, "euler", "simple", positive, negative, latents, seed=3, disable_pbar=True
    )


@pytest.mark.parametrize("cfg", [4.0, 1.0])
@pytest.mark.parametrize("variant", variants(), indirect=True)
def test_it_equals_a_row_of_the_batch(variant: Variant, cfg: float) -> None:
    model = shared(variant.model(), blocks="all", shift=0.3)
    positive, negative = variant.conditioning(1 + TARGETS, seed=1), variant.conditioning(1, seed=2)
    noise = variant.noise(1 + TARGETS)
    held, latent = StyleAlignedReferenceLatent.execute(model, {"samples": picture(variant)}, TARGETS, "noise").result

    expected = sampled(held, latent["samples"], noise, positive, negative, cfg)[1:]

    own = rows_of(positive, slice(0, 1))
    apart = StyleAlignedReference.execute(model, {"samples": picture(variant)}, conditioning=own).result[0]
    text = rows_of(positive, slice(1, None))
    actual = sampled(apart, latent["samples"][1:], noise[1:], text, negative, cfg)
    assert relative_error(actual, expected) < 1e-5
    unshared = sampled(variant.model(), latent["samples"][1:], noise[1:], text, negative, cfg)
    assert relative_error(unshared, expected) > 1e-3
