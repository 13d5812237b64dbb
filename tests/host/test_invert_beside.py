"""StyleAlignedInvert beside other nodes, and while it runs: patches, masks, previews, an interruption."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.utils
import latent_preview
import pytest
import torch
from inverting import LATENT, POSITIVE, inverted
from oracles import relative_error
from sampling import noise, sample, shared
from style_aligned.nodes.reference import StyleAlignedReference
from style_aligned.nodes.reference_latent import StyleAlignedReferenceLatent
from tiny_models import conditioning, tiny_model
from torch import Tensor


def test_the_packs_other_nodes_change_nothing():
    model = tiny_model("sd15")
    plain = inverted(model).latents
    other = {"samples": noise(1, seed=99)}
    held = StyleAlignedReferenceLatent.execute(shared(model), other, 2, "noise").result[0]
    apart = StyleAlignedReference.execute(shared(model), other).result[0]
    assert torch.equal(inverted(apart).latents, plain)
    wrappers = str(held.wrappers)
    assert torch.equal(inverted(shared(model, share_group_norm=True)).latents, plain)
    assert torch.equal(inverted(held).latents, plain)
    assert str(held.wrappers) == wrappers, "the reference is still attached for the sampler"


def test_a_mask_in_the_latent_changes_nothing():
    masked = {**LATENT, "noise_mask": torch.zeros(1, 8, 8)}
    model = tiny_model("sd15")
    assert torch.equal(inverted(model, masked).latents, inverted(model).latents)


def test_model_patches_act():
    """Weight patches, such as a LoRA's, and other nodes' functions."""
    model = tiny_model("sd15")
    plain = inverted(model).latents
    lora = model.clone()
    name = "diffusion_model.out.2.weight"
    lora.add_patches({name: (torch.ones_like(model.model.diffusion_model.out[2].weight),)}, 0.1)
    post_cfg = model.clone()
    post_cfg.set_model_sampler_post_cfg_function(lambda arguments: arguments["denoised"] * 0.5)
    for patched in (lora, post_cfg):
        assert relative_error(inverted(patched).latents, plain) > 1e-2
    assert torch.equal(inverted(model).latents, plain), "and go with their model"


def test_conditioning_of_a_part_of_sampling_acts_there():
    """A range given by Set Timestep Range, by which ControlNets are limited too, is one of noise levels."""
    model = tiny_model("sd15")
    late = inverted(model, positive=[*POSITIVE, *conditioning(seed=8, start_percent=0.5, end_percent=1.0)])
    plain = inverted(model)
    changed = [not torch.equal(*pair) for pair in zip(late.latents, plain.latents, strict=True)]
    assert changed[:2] == [False, True]
    top_steps = [x.latents[-1] - x.latents[-2] for x in (late, plain)]
    alone = inverted(model, positive=conditioning(seed=8))
    assert relative_error(top_steps[0], top_steps[1]) < relative_error(alone.latents[-1], plain.latents[-1])


def with_preview(patch: pytest.MonkeyPatch, preview: Callable[[int, Tensor, Tensor, int], None]) -> None:
    """Put `preview` in the place of the host's preview and progress bar."""
    patch.setattr(latent_preview, "prepare_callback", lambda model, steps: preview)


def test_progress_and_previews(monkeypatch: pytest.MonkeyPatch):
    reports: list[tuple[int, int]] = []
    shown: list[Tensor] = []

    def preview(step: int, denoised: Tensor, latent: Tensor, steps: int) -> None:
        reports.append((step, steps))
        shown.append(denoised)

    model = tiny_model("sd15")
    model.set_model_sampler_post_cfg_function(lambda arguments: torch.full_like(arguments["denoised"], 0.25))
    with_preview(monkeypatch, preview)
    inverted(model, steps=5)
    assert reports == [(number, 5) for number in range(5)]
    assert all(bool((picture == 0.25).all()) for picture in shown), "the clean latent that the model sees"


def test_the_hosts_own_preview(monkeypatch: pytest.MonkeyPatch):
    """With previews on, a picture goes to the host's progress bar."""
    sent: list[Any] = []
    monkeypatch.setattr(latent_preview.args, "preview_method", latent_preview.LatentPreviewMethod.Latent2RGB)
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", lambda value, total, preview, **_: sent.append(preview))
    inverted(tiny_model("sd15"))
    assert sent
    assert sent[-1][1].size == (8, 8)


def test_a_run_that_raises_leaves_the_model_clean(monkeypatch: pytest.MonkeyPatch):
    model = tiny_model("sd15")
    plain, before = inverted(model).latents, sample(model)

    def interrupt(step: int, *_: Any) -> None:
        if step == 2:
            raise InterruptedError

    with monkeypatch.context() as patch:
        with_preview(patch, interrupt)
        with pytest.raises(InterruptedError):
            inverted(model)
    assert not any(functions for kinds in model.wrappers.values() for functions in kinds.values())
    assert torch.equal(inverted(model).latents, plain)
    assert torch.equal(sample(model), before)
