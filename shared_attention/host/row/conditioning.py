"""Conditioning that is a picture of the targets, and what a given reference has in its place.

Inpainting models see a mask and the masked picture, InstructPix2Pix and its like the picture to edit, unCLIP models an
embedding of a picture, GLIGEN's boxes with texts. The host gives all of it to every row of a batch. The reference is
itself: nothing of it is masked, the picture to edit is the reference, and it has no embedding and no boxes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import comfy.model_base
import comfy.samplers
import torch
from comfy.conds import CONDConstant, CONDList, CONDRegular
from comfy.utils import common_upscale, repeat_to_batch_size
from torch import Tensor

from .grounding import GroundedTargets
from .run import ReferenceRun

Cond = dict[str, Any]
"""One conditioning of the host's in a run, with what the model made of it in `model_conds`."""

PICTURES = ("concat_latent_image", "concat_mask", "unclip_conditioning", "reference_latents")


def with_own_rows(guider: Any, run: ReferenceRun, noise: Tensor, latent_image: Tensor, **options: Any) -> None:
    """Gives row 0 of all conds of the host's `guider`, which are this run's only, the reference's own.

    noise, latent_image: (images, channels, height, width), in the sampler's space. options: what else the host encodes
    conditioning with: denoise_mask and seed.
    """
    guider.conds = {
        kind: [_own(guider.inner_model, run, cond, noise, kind, latent_image=latent_image, **options) for cond in conds]
        for kind, conds in guider.conds.items()
    }


def _own(model: Any, run: ReferenceRun, cond: Cond, noise: Tensor, kind: str, **options: Any) -> Cond:
    own = dict(cond)
    if "gligen" in cond:
        own["gligen"] = (cond["gligen"][0], GroundedTargets(cond["gligen"][1], run), *cond["gligen"][2:])
    if "c_concat" not in cond["model_conds"] and not any(name in cond for name in PICTURES):
        return own
    targets = cond["model_conds"]
    if _has_one_picture_a_target(cond, run.images):
        # The host spreads them over all rows, the reference's included.
        shifted = _encoded(model, cond, noise[1:], kind, **{name: _of_targets(v) for name, v in options.items()})
        targets = {**targets, **{key: _after_an_empty_row(shifted[key]) for key in ("c_concat",) if key in shifted}}
    unmasked = {**options, "latent_image": run.clean.to(noise), "denoise_mask": torch.zeros_like(noise[:1])}
    reference = _encoded(model, of_reference(model, run, cond), noise[:1], kind, **unmasked)
    own["model_conds"] = {key: _joined(value, reference.get(key), run.images) for key, value in targets.items()}
    return own


def _encoded(model: Any, cond: Cond, noise: Tensor, kind: str, **options: Any) -> dict[str, Any]:
    """What the host's model makes of one conditioning for the rows of `noise`."""
    conds = comfy.samplers.encode_model_conds(model.extra_conds, [cond], noise, noise.device, kind, **options)
    return cast("dict[str, Any]", conds[0]["model_conds"])


def of_reference(model: Any, run: ReferenceRun, cond: Cond) -> Cond:
    """`cond` as it is for the reference alone; its `model_conds` are those of targets of the host's `model`."""
    own = {name: value for name, value in cond.items() if name not in PICTURES}
    seen = cond["model_conds"].get("c_concat")
    channels = 0 if seen is None else seen.cond.shape[1]
    is_masked = channels > run.clean.shape[1]
    # Flux's Canny and Depth models read a hint there, which the reference has none of.
    is_hint = isinstance(model, comfy.model_base.Flux) and not is_masked
    if is_masked or ("concat_latent_image" in cond and not is_hint):
        own["concat_latent_image"] = run.reference
    if is_masked:
        own["concat_mask"] = torch.zeros_like(run.clean[:, :1])
    if "reference_latents" in cond:
        own["reference_latents"] = [_resized(run.reference, latent) for latent in cond["reference_latents"]]
    return own


def _resized(reference: Tensor, latent: Tensor) -> Tensor:
    """The reference in the size of `latent`: a batch has as many tokens in each row."""
    if reference.shape[-2:] == latent.shape[-2:]:
        return reference
    return cast(Tensor, common_upscale(reference, latent.shape[-1], latent.shape[-2], "bilinear", "center"))


def _has_one_picture_a_target(cond: Mapping[str, Any], images: int) -> bool:
    given = [cond[name] for name in ("concat_latent_image", "concat_mask") if cond.get(name) is not None]
    return images > 2 and any(len(pictures) == images - 1 for pictures in given)


def _of_targets(value: Any) -> Any:
    return value[1:] if torch.is_tensor(value) else value


def _after_an_empty_row(cond: Any) -> Any:
    return cond._copy_with(torch.cat([torch.zeros_like(cond.cond[:1]), cond.cond]))


def _joined(targets: Any, reference: Any, images: int) -> Any:
    """A model's cond with `reference` in row 0; `targets` itself where it is the same or has no rows."""
    if not isinstance(targets, CONDRegular) or isinstance(targets, CONDConstant) or reference is None:
        return targets
    if isinstance(targets, CONDList):
        pairs = zip(targets.cond, reference.cond, strict=True)
        return targets._copy_with([_with_row_0(other, row, images) for other, row in pairs])
    joined = _with_row_0(targets.cond, reference.cond, images)
    return targets if joined is targets.cond else targets._copy_with(joined)


def _with_row_0(targets: Tensor, reference: Tensor, images: int) -> Tensor:
    if targets.shape[1:] != reference.shape[1:]:
        return targets
    rows = repeat_to_batch_size(targets, images)
    row = reference[:1].to(rows)
    return targets if torch.equal(rows[:1], row) else torch.cat([row, rows[1:]])
