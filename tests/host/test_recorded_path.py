"""A generated picture as the reference of images made later: as in one batch with it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from apart_references import apart
from every_day import every_day
from given_reference import ksampler, picture
from oracles import relative_error
from sampling import noise, rows_of, sample, shared
from style_aligned.nodes.record import StyleAlignedRecord
from style_aligned.nodes.reference_latent import StyleAlignedReferenceLatent
from style_aligned.shared_attention.host.style_model import style_of
from style_aligned.shared_attention.style_file import decode, encode
from tiny_models import conditioning, tiny_model
from torch import Tensor

SAMPLERS = ["euler", "heun", "dpm_2", "dpmpp_2m", "lms", "uni_pc", "ddim", "res_multistep", "heunpp2", "ipndm"]


def recorded(model: Any) -> tuple[Any, Any]:
    return StyleAlignedRecord.execute(model).result


@pytest.mark.parametrize("sampler", every_day(SAMPLERS, ["euler", "heun", "dpmpp_2m"]))
def test_targets_are_those_of_one_batch(sampler: str) -> None:
    model, positive = shared(tiny_model("sd15"), share_group_norm=True), conditioning(3, seed=1)
    options = {"steps": 4, "sampler": sampler}
    together = sample(model, 3, positive=positive, **options)

    recording, path = recorded(model)
    first = sample(recording, 1, positive=rows_of(positive, slice(1)), initial=noise(3)[:1], **options)
    assert relative_error(first, together[:1]) < 1e-5
    later = apart(model, first, conditioning=rows_of(positive, slice(1)), trajectory=path)

    for image in (1, 2):
        own = slice(image, image + 1)
        alone = sample(later, 1, positive=rows_of(positive, own), initial=noise(3)[own], **options)
        assert relative_error(alone, together[own]) < 1e-5


def test_the_first_image_of_a_batch_is_recorded() -> None:
    model, positive = shared(tiny_model("sd15")), conditioning(3, seed=1)
    recording, path = recorded(model)
    together = sample(recording, 3, positive=positive)
    later = apart(model, together[:1], conditioning=rows_of(positive, slice(1)), trajectory=path)
    alone = sample(later, 1, positive=rows_of(positive, slice(1, 2)), initial=noise(3)[1:2])
    assert relative_error(alone, together[1:2]) < 1e-5


def test_stages_are_one_path() -> None:
    """A stage that goes on where the one before stopped, as of KSamplerAdvanced."""
    model, positive = shared(tiny_model("sd15")), conditioning(2, seed=1)
    recording, path = recorded(model)
    latent = {"samples": torch.zeros(1, 4, 8, 8)}
    one = {"positive": rows_of(positive, slice(1)), "steps": 6}
    half = ksampler(recording, latent, **one, last_step=3, force_full_denoise=False)
    whole = ksampler(recording, {"samples": half}, **one, start_step=3, disable_noise=True)
    trajectory = path.trajectory_of(model.get_model_object("latent_format").process_in(whole.float()))
    assert len(trajectory.sigmas) == 7
    assert relative_error(whole, ksampler(model, latent, **one)) < 1e-5


def test_it_finds_the_run_that_ended_in_the_reference() -> None:
    recording, path = recorded(tiny_model("sd15"))
    outputs = [sample(recording, 1, initial=noise(1, seed=seed)) for seed in (7, 8, 9)]
    process = recording.get_model_object("latent_format").process_in
    for out in outputs:
        torch.testing.assert_close(path.trajectory_of(process(out)).clean, process(out))


def test_no_run_has_ended_in_the_reference() -> None:
    model = tiny_model("sd15")
    _, path = recorded(model)
    with pytest.raises(ValueError, match="no path of this reference"):
        apart(model, picture(), trajectory=path)


def test_a_run_that_failed_leaves_no_path() -> None:
    recording, path = recorded(tiny_model("sd15"))
    broken = recording.clone()
    calls: list[int] = []

    def failing(apply_model: Any, arguments: dict[str, Any]) -> Tensor:
        calls.append(1)
        if len(calls) > 1:
            raise RuntimeError("interrupted")
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    broken.set_model_unet_function_wrapper(failing)
    with pytest.raises(RuntimeError, match="interrupted"):
        sample(broken, 1)
    out = sample(recording, 1)
    trajectory = path.trajectory_of(recording.get_model_object("latent_format").process_in(out))
    assert len(trajectory.sigmas) == 4
    assert not any("recorded" in str(key) for key in recording.model_options["transformer_options"])


def test_it_is_sampled_as_without_recording() -> None:
    assert torch.equal(sample(recorded(tiny_model("sd15"))[0], 2), sample(tiny_model("sd15"), 2))


def test_it_is_kept_in_a_style_and_is_a_row_as_well() -> None:
    model, positive = shared(tiny_model("sd15")), conditioning(3, seed=1)
    recording, path = recorded(model)
    together = sample(recording, 3, positive=positive)
    kept = decode(encode(style_of(model, {"samples": together[:1]}, path, rows_of(positive, slice(1)), "a heart")))
    later = apart(model, kept.reference, conditioning=kept.conditioning, trajectory=kept.trajectory)
    alone = sample(later, 1, positive=rows_of(positive, slice(2, 3)), initial=noise(3)[2:])
    assert relative_error(alone, together[2:]) < 1e-5

    held, latent = StyleAlignedReferenceLatent.execute(model, {"samples": together[:1]}, 2, "noise", path).result
    rows = sample(held, 3, positive=positive, latent=latent["samples"])
    assert relative_error(rows[1:], together[1:]) < 1e-5
