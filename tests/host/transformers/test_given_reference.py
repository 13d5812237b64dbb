"""A given picture as the reference of a transformer's set: flows, and latents of one frame."""

from __future__ import annotations

from typing import Any

import comfy.sample
import pytest
import torch
from oracles import relative_error
from runs import variants
from sampling import shared
from style_aligned.nodes.invert import StyleAlignedInvert
from style_aligned.nodes.reference_latent import StyleAlignedReferenceLatent
from style_aligned.shared_attention.host.style_model import conditioning_of, latent_of, style_of
from style_aligned.shared_attention.style_file import decode, encode
from style_aligned.shared_attention.trajectory import Trajectory
from torch import Tensor
from variant import Variant

GIVEN = variants("flux_dev", "flux2_klein", "qwen_image", "krea2", "anima", "z_image", "sd35_medium", "chroma")


def picture(variant: Variant) -> dict[str, Tensor]:
    return {"samples": 0.5 * variant.noise(1, seed=99)}


def inverted(model: Any, variant: Variant) -> Trajectory:
    positive = variant.conditioning(1, seed=1)
    return StyleAlignedInvert.execute(model, positive, picture(variant), 4, 1.0).result[0]


def sampled(model: Any, variant: Variant, latent: dict[str, Any], cfg: float = 3.0) -> Tensor:
    images = latent["samples"]
    noise = comfy.sample.prepare_noise(images, 3, latent.get("batch_index"))
    positive, negative = variant.conditioning(len(images), seed=1), variant.conditioning(1, seed=2)
    return comfy.sample.sample(
        model, noise, 3, cfg, "euler", "simple", positive, negative, images, seed=3, disable_pbar=True
    )


@pytest.mark.parametrize("is_inverted", [False, True], ids=["noise-matched", "inverted"])
@pytest.mark.parametrize("variant", GIVEN, indirect=True)
def test_a_given_picture_is_row_0_and_gives_its_style(variant: Variant, is_inverted: bool) -> None:
    model = variant.model()
    path = inverted(model, variant) if is_inverted else None
    held, latent = StyleAlignedReferenceLatent.execute(
        shared(model, blocks="all"), picture(variant), 2, "noise", path
    ).result
    seen: list[tuple[float, Tensor]] = []

    def note(apply_model: Any, arguments: dict[str, Any]) -> Tensor:
        seen.append((float(arguments["timestep"][0]), arguments["input"][:1].clone()))
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    held.set_model_unet_function_wrapper(note)
    samples = sampled(held, variant, latent)

    assert torch.equal(samples[:1], picture(variant)["samples"])
    clean = model.get_model_object("latent_format").process_in(picture(variant)["samples"])
    noises = [(x - (1 - sigma) * clean) / sigma for sigma, x in seen]
    for (sigma, x), noise in zip(seen, noises, strict=True):
        if path is None:
            torch.testing.assert_close(noise, noises[0], rtol=1e-3, atol=1e-3)  # one noise, at every level
        else:
            torch.testing.assert_close(x, path.at(sigma), rtol=1e-5, atol=1e-5)
    unshared, latent = StyleAlignedReferenceLatent.execute(model, picture(variant), 2, "noise", path).result
    assert relative_error(samples[1:], sampled(unshared, variant, latent)[1:]) > 1e-3


@pytest.mark.parametrize("variant", [each for each in GIVEN if each.id != "flux2_klein"], indirect=True)
def test_a_style_is_kept_in_a_file(variant: Variant) -> None:
    """But for pictures to edit, which are no text."""
    model = variant.model()
    text = variant.conditioning(1, seed=1)
    style = style_of(model, picture(variant), inverted(model, variant), text, "a heart")

    kept = decode(encode(style))

    assert torch.equal(latent_of(kept)["samples"], picture(variant)["samples"])
    assert kept.trajectory is not None
    assert torch.equal(kept.trajectory.latents, style.trajectory.latents)
    [[embeddings, options]] = conditioning_of(kept)
    assert torch.equal(embeddings, text[0][0])
    assert options.keys() == text[0][1].keys()
