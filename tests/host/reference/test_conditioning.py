"""Pictures in the conditioning are the targets'; a given reference has its own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import comfy_extras.nodes_ip2p as ip2p
import pytest
import torch
from given_reference import ksampler, with_reference
from pictured_models import Vae, controlled, grounded, inpainting, pictured_model, pixels
from sampling import shared
from tiny_models import conditioning
from torch import Tensor

from nodes import ConditioningSetArea, unCLIPConditioning  # the host's

IMAGES = 3
INPAINTING = [("sd15_inpainting", 4), ("flux_fill", 16)]


def picture(channels: int = 4) -> Tensor:
    return torch.randn(1, channels, 8, 8, generator=torch.Generator().manual_seed(11))


def prompts() -> tuple[list, list]:
    return conditioning(IMAGES), conditioning(1, seed=2)


def seen(patched, latent: dict, conditions: tuple[list, list], **options: Any) -> list[dict[str, Any]]:
    """What each chunk of each model call was given, by the host's names, and what came out, as "denoised"."""
    calls: list[dict[str, Any]] = []
    watched = patched.clone()

    def wrapper(apply_model, arguments):
        denoised = apply_model(arguments["input"], arguments["timestep"], **arguments["c"])
        given = {k: v for k, v in {**arguments["c"], "denoised": denoised}.items() if torch.is_tensor(v)}
        given |= {f"reference latent {i}": v for i, v in enumerate(arguments["c"].get("ref_latents", ()))}
        chunks = len(arguments["cond_or_uncond"])
        calls.extend({k: v.chunk(chunks)[chunk].clone() for k, v in given.items()} for chunk in range(chunks))
        return denoised

    watched.set_model_unet_function_wrapper(wrapper)
    ksampler(watched, latent, positive=conditions[0], negative=conditions[1], steps=2, **options)
    return calls


def assert_targets_as_the_host_gives(calls: list[dict], host: list[dict]) -> None:
    assert len(calls) == len(host) >= 2
    for call, plain in zip(calls, host, strict=True):
        assert call.keys() == plain.keys()
        for name in call.keys() - {"denoised"}:
            assert torch.equal(call[name][1:], plain[name][1:]), name


def assert_same_reference(calls: list[dict], others: list[dict]) -> None:
    """Of what the model is given, and of what it makes of it."""
    assert len(calls) == len(others) >= 2
    for call, other in zip(calls, others, strict=True):
        for name in call:
            torch.testing.assert_close(call[name][:1], other[name][:1], rtol=1e-4, atol=1e-5, msg=name)


def mask_and_image(call: dict, family: str) -> tuple[Tensor, Tensor]:
    row = call["c_concat"][:1]
    return (row[:, :1], row[:, 1:]) if family == "sd15_inpainting" else (row[:, 16:], row[:, :16])


@pytest.mark.parametrize(("family", "channels"), INPAINTING)
@pytest.mark.parametrize("given", [1, IMAGES])
def test_nothing_of_the_reference_is_masked(family: str, channels: int, given: int):
    model = pictured_model(family)
    positive, negative, _ = inpainting(prompts(), channels, given)
    patched, latent = with_reference(model, picture(channels))
    calls = seen(patched, latent, (positive, negative))
    for call in calls:
        mask, image = mask_and_image(call, family)
        assert torch.count_nonzero(mask) == 0
        torch.testing.assert_close(image, model.model.process_latent_in(picture(channels)))
    assert_targets_as_the_host_gives(calls, seen(model, latent, (positive, negative)))


@pytest.mark.parametrize(("family", "channels"), INPAINTING)
def test_an_inpainting_model_without_a_mask(family: str, channels: int):
    """To the host all of it is masked, and blank; the reference is not."""
    model = pictured_model(family)
    patched, latent = with_reference(model, picture(channels))
    calls = seen(patched, latent, prompts())
    for call in calls:
        mask, image = mask_and_image(call, family)
        assert torch.count_nonzero(mask) == 0
        torch.testing.assert_close(image, model.model.process_latent_in(picture(channels)))
    assert_targets_as_the_host_gives(calls, seen(model, latent, prompts()))


def test_a_noise_mask_alone():
    model = pictured_model("sd15_inpainting")
    patched, latent = with_reference(model, picture(), start_from="reference")
    latent["noise_mask"] = torch.zeros(1, 64, 64)
    latent["noise_mask"][:, :, :32] = 1
    calls = seen(patched, latent, prompts())
    for call in calls:
        assert torch.count_nonzero(call["c_concat"][:1, :1]) == 0
        assert torch.equal(call["c_concat"][1:, 0].mean(dim=(1, 2)), torch.full((2,), 0.5))
    assert_targets_as_the_host_gives(calls, seen(model, latent, prompts()))


@pytest.mark.parametrize(("family", "channels"), INPAINTING)
def test_one_masked_picture_for_each_target(family: str, channels: int):
    """The host spreads two pictures over three rows; they are the targets', in their order."""
    model = pictured_model(family)
    patched, latent = with_reference(model, picture(channels))
    own = seen(patched, latent, inpainting(prompts(), channels, IMAGES - 1)[:2])
    alone = {"samples": latent["samples"][1:], "batch_index": latent["batch_index"][1:]}
    expected = seen(model, alone, inpainting((conditioning(2), prompts()[1]), channels, IMAGES - 1)[:2])
    for call, plain in zip(own, expected, strict=True):
        assert torch.equal(call["c_concat"][1:], plain["c_concat"])
        assert torch.count_nonzero(mask_and_image(call, family)[0]) == 0


@pytest.mark.parametrize("area", [(32, 64, 0, 0), (64, 32, 0, 32)])
def test_an_area(area: tuple[int, int, int, int]):
    height, width, y, x = area
    model = pictured_model("sd15_inpainting")
    positive, negative, _ = inpainting(prompts(), 4, IMAGES)
    positive = ConditioningSetArea().append(positive, width, height, x, y, 1.0)[0] + positive
    patched, latent = with_reference(model, picture())
    calls = seen(patched, latent, (positive, negative))
    own = model.model.process_latent_in(picture())
    cropped = own[:, :, y // 8 : (y + height) // 8, x // 8 : (x + width) // 8]
    rows = [call["c_concat"][:1, 1:] for call in calls]
    assert sum(row.shape == cropped.shape and bool(torch.allclose(row, cropped)) for row in rows) == 4
    assert sum(row.shape == own.shape and bool(torch.allclose(row, own)) for row in rows) == 4
    assert_targets_as_the_host_gives(calls, seen(model, latent, (positive, negative)))


def test_the_picture_to_edit_is_the_reference_itself():
    model = pictured_model("instruct_pix2pix")
    conditions = ip2p.InstructPixToPixConditioning.execute(*prompts(), pixels(IMAGES), Vae(4)).result[:2]
    patched, latent = with_reference(model, picture())
    calls = seen(patched, latent, conditions)
    for call in calls:
        torch.testing.assert_close(call["c_concat"][:1], picture())
    assert_targets_as_the_host_gives(calls, seen(model, latent, conditions))


def test_the_third_condition_of_instruct_pix2pix_has_no_picture():
    model = pictured_model("instruct_pix2pix")
    patched, latent = with_reference(model, picture())
    for call in seen(patched, latent, prompts()):
        assert torch.count_nonzero(call["c_concat"]) == 0


def test_a_hint_of_flux_is_the_targets():
    """Canny and depth models read it where inpainting models read their picture."""
    model = pictured_model("flux_canny")
    conditions = ip2p.InstructPixToPixConditioning.execute(*prompts(), pixels(IMAGES), Vae(16)).result[:2]
    patched, latent = with_reference(model, picture(16))
    calls = seen(patched, latent, conditions)
    assert_same_reference(calls, seen(patched, latent, prompts()))
    assert_targets_as_the_host_gives(calls, seen(model, latent, conditions))


@pytest.mark.parametrize("size", [8, 12])
def test_reference_latents_of_an_edit_are_the_targets(size: int):
    """Kontext and its like; a batch has as many tokens in each row, so that the reference gets its own picture."""
    model = pictured_model("flux")

    def edited(seed: int) -> tuple[list, list]:
        edit = torch.randn(1, 16, size, size, generator=torch.Generator().manual_seed(seed))
        positive, negative = prompts()
        return [[positive[0][0], {**positive[0][1], "reference_latents": [edit]}]], negative

    patched, latent = with_reference(model, picture(16))
    calls = seen(patched, latent, edited(1))
    assert_same_reference(calls, seen(patched, latent, edited(2)))
    assert_targets_as_the_host_gives(calls, seen(model, latent, edited(1)))


@pytest.mark.parametrize("family", ["unclip", "sdxl"])
def test_an_embedding_of_a_picture(family: str):
    model = pictured_model(family)

    def embedded(seed: int) -> tuple[list, list]:
        size = 768 if family == "unclip" else 1280
        embeds = torch.randn(1, size, generator=torch.Generator().manual_seed(seed))
        positive, negative = prompts()
        output = SimpleNamespace(image_embeds=embeds)
        return unCLIPConditioning().apply_adm(positive, output, 1.0, 0.0)[0], negative

    patched, latent = with_reference(model, picture())
    calls = seen(patched, latent, embedded(1))
    assert_same_reference(calls, seen(patched, latent, embedded(2)))
    assert_same_reference(calls, seen(patched, latent, prompts()))
    assert_targets_as_the_host_gives(calls, seen(model, latent, embedded(1)))


def test_boxes_of_gligen():
    model = pictured_model("sd15")
    positive, negative = prompts()
    patched, latent = with_reference(model, picture())
    calls = seen(patched, latent, (grounded(positive), negative))
    plain, ungrounded = seen(model, latent, (grounded(positive), negative)), seen(patched, latent, prompts())
    by_chunk = [sorted(part, key=lambda call: float(call["c_crossattn"].sum())) for part in (calls, ungrounded, plain)]
    assert_same_reference(*by_chunk[:2])
    assert_targets_as_the_host_gives(by_chunk[0], by_chunk[2])
    changed = max((a["denoised"][1:] - b["denoised"][1:]).abs().max() for a, b in zip(*by_chunk[:2], strict=True))
    assert changed > 1e-2  # the boxes do matter to the targets


@pytest.mark.parametrize("hints", [1, IMAGES])
@pytest.mark.parametrize("split", [False, True])
def test_a_control_net(hints: int, split: bool, request: pytest.FixtureRequest):
    if split:
        request.getfixturevalue("split_calls")
    model = pictured_model("sd15")
    patched, latent = with_reference(model, picture())
    calls = seen(patched, latent, controlled(prompts(), hints))
    assert_same_reference(calls, seen(patched, latent, prompts()))
    host = seen(model, latent, controlled(prompts(), hints))
    assert_targets_as_the_host_gives(calls, host)
    torch.testing.assert_close(calls[0]["denoised"][1:], host[0]["denoised"][1:], rtol=1e-4, atol=1e-5)


def test_a_control_net_beside_sharing():
    """What targets read of the reference is what they read without a hint for it."""
    model = pictured_model("sd15")
    patched, latent = with_reference(shared(model), picture())
    calls = seen(patched, latent, controlled(prompts()))
    assert_same_reference(calls, seen(patched, latent, prompts()))


def test_a_control_net_and_the_reference_alone():
    model = pictured_model("sd15")
    patched, latent = with_reference(model, picture(), targets=0)
    positive, negative = conditioning(1), conditioning(1, seed=2)
    calls = seen(patched, latent, controlled((positive, negative)))
    assert_same_reference(calls, seen(patched, latent, (positive, negative)))
