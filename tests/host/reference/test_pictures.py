"""Pictures of one's own in the style of a given one."""

from __future__ import annotations

import pytest
import torch
from given_reference import ksampler, picture, with_reference
from oracles import relative_error
from sampling import shared
from style_aligned.nodes.reference_latent import StyleAlignedReferenceLatent
from tiny_models import conditioning, tiny_model
from torch import Tensor

from nodes import LatentFromBatch  # the host's


def pictures(images: int = 2) -> Tensor:
    return torch.cat([picture(21 + image) for image in range(images)])


@pytest.mark.parametrize("images", [1, 2, 5])
def test_the_batch_is_the_reference_and_the_pictures(model, images: int):
    """Whatever targets and start_from say."""
    for start_from in ("noise", "reference"):
        _, latent = with_reference(model, pictures={"samples": pictures(images)}, targets=3, start_from=start_from)
        assert torch.equal(latent["samples"], torch.cat([picture(), pictures(images)]))
        assert latent["batch_index"] == [images, *range(images)]


def test_without_sharing_they_are_what_the_host_makes_of_them(model):
    patched, latent = with_reference(model, pictures={"samples": pictures(3)})
    together = ksampler(patched, latent, denoise=0.5, positive=conditioning(1))
    alone = ksampler(model, {"samples": pictures(3)}, denoise=0.5, positive=conditioning(1))
    assert torch.equal(together[:1], picture())
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-3)


def test_they_take_the_references_style(model):
    one, other = (with_reference(shared(model), picture(seed), pictures={"samples": pictures()}) for seed in (11, 12))
    assert relative_error(ksampler(*one, denoise=0.6)[1:], ksampler(*other, denoise=0.6)[1:]) > 1e-3


def test_denoise_is_how_much_they_change(model):
    patched, latent = with_reference(shared(model), pictures={"samples": pictures()})
    distances = [
        relative_error(ksampler(patched, latent, denoise=denoise, cfg=1.0)[1:], pictures())
        for denoise in (0.1, 0.4, 0.8)
    ]
    assert distances == sorted(distances)
    assert distances[0] < 0.5 * distances[2]


def test_a_picture_that_is_the_reference_is_a_target(model):
    patched, latent = with_reference(shared(model), pictures={"samples": picture()})
    samples = ksampler(patched, latent, denoise=0.6)
    assert torch.equal(samples[:1], picture())
    assert relative_error(samples[1:], picture()) > 1e-2
    with pytest.raises(ValueError, match="a target, not the reference"):
        ksampler(patched, LatentFromBatch().frombatch(latent, 1, 1)[0])


@pytest.mark.parametrize("shape", [(1, 64, 64), (2, 64, 64), (2, 1, 64, 64), (1, 1, 8, 8)], ids=str)
def test_their_noise_mask_is_theirs(model, shape: tuple[int, ...]):
    mask = torch.zeros(shape)
    mask[..., shape[-1] // 2 :] = 1
    patched, latent = with_reference(shared(model), pictures={"samples": pictures(), "noise_mask": mask})
    assert latent["noise_mask"][0].min() == 1
    samples = ksampler(patched, latent)
    assert torch.equal(samples[:1], picture())
    torch.testing.assert_close(samples[1:, :, :, :3], pictures()[..., :3])
    assert relative_error(samples[1:, :, :, 5:], pictures()[..., 5:]) > 1e-2


def test_each_has_its_own_mask(model):
    mask = torch.stack([torch.zeros(64, 64), torch.ones(64, 64)])
    samples = ksampler(*with_reference(model, pictures={"samples": pictures(), "noise_mask": mask}))
    torch.testing.assert_close(samples[1], pictures()[0])
    assert relative_error(samples[2], pictures()[1]) > 1e-2


def test_a_mask_of_the_reference_is_not_theirs(model):
    mask = {"noise_mask": torch.zeros(1, 64, 64)}
    _, latent = with_reference(model, pictures={"samples": pictures()}, start_from="reference", reference=mask)
    assert "noise_mask" not in latent


def test_they_keep_their_own_noise(model):
    """Part of a batch has the noise of its place in that."""
    part = LatentFromBatch().frombatch({"samples": pictures(4)}, 2, 2)[0]
    patched, latent = with_reference(model, pictures=part)
    assert latent["batch_index"] == [4, 2, 3]
    together = ksampler(patched, latent, positive=conditioning(1))
    alone = ksampler(model, part, positive=conditioning(1))
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_empty_pictures_start_from_noise(family: str):
    """As the host starts from an empty latent, which it does not shift to the model's latents."""
    model = tiny_model(family)
    _, given = with_reference(model, pictures={"samples": torch.zeros(2, 4, 8, 8)})
    _, from_noise = with_reference(model, targets=2)
    assert torch.equal(given["samples"], from_noise["samples"])


def test_more_pictures_change_none_that_were_there(model):
    few, many = (
        ksampler(*with_reference(shared(model), pictures={"samples": pictures(n)}), positive=conditioning(1))
        for n in (2, 4)
    )
    assert torch.equal(many[:3], few)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (torch.ones(2, 4, 8, 16), r"pictures are 16 x 8 in latent pixels, the reference 8 x 8.*scale or crop"),
        (torch.ones(2, 16, 8, 8), "pictures has 16 latent channels, this model has 4"),
        (torch.ones(2, 4, 3, 8, 8), "pictures is no image's latent"),
        (torch.full((2, 4, 8, 8), float("inf")), "pictures has values that are no numbers"),
        (torch.ones(0, 4, 8, 8), "pictures has no image"),
    ],
    ids=lambda value: str(tuple(value.shape)) if isinstance(value, Tensor) else "",
)
def test_pictures_that_do_not_fit_are_refused_by_name(model, samples: Tensor, message: str):
    with pytest.raises(ValueError, match=message):
        with_reference(model, pictures={"samples": samples})


def test_pictures_that_were_sampled_again_go_on(model):
    """A hires second stage: a larger reference, and the targets of the first stage enlarged."""
    first = ksampler(*with_reference(shared(model)))
    larger = torch.nn.functional.interpolate(first[1:], scale_factor=2, mode="bilinear")
    patched, latent = with_reference(shared(model), picture(height=16, width=16), pictures={"samples": larger})
    samples = ksampler(patched, latent, denoise=0.5)
    assert torch.equal(samples[:1], picture(height=16, width=16))
    assert samples.shape == (3, 4, 16, 16)


def test_the_input_comes_last_in_the_schema():
    """Saved workflows know inputs by their place."""
    names = [item.id for item in StyleAlignedReferenceLatent.define_schema().inputs]
    assert names == ["model", "reference", "targets", "start_from", "trajectory", "offset", "pictures"]
