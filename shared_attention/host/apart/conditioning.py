"""What a reference apart is conditioned with in its own pass: its prompt, and nothing that is the targets' alone.

ControlNets, masks, areas, boxes and hooks of the targets' conditioning are not its own. What an inpainting or editing
model sees beside the latent is the reference itself, as with a reference in row 0.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import comfy.samplers
import torch
from comfy.sampler_helpers import convert_cond
from torch import Tensor

from ...conditioning import Conditioning, first_row
from ..inversion import zeroed
from ..row.conditioning import PICTURES, Cond, of_reference
from ..row.run import ReferenceRun
from .references import Reference

POSITIVE, NEGATIVE = 0, 1
"""The kinds of conditioning of a reference's pass, in the host's order."""

_OF_PLACES = {
    "control", "control_apply_to_uncond", "gligen", "hooks", "area", "mask", "mask_strength", "set_area_to_bounds",
    "strength", "default", "uuid",
}  # fmt: skip
"""What says where in a picture or by what means a prompt acts; a reference's own prompt describes all of it."""


def is_negative(kind: str) -> bool:
    """Whether the host's (or another node's) name of a kind of conditioning is one that guidance is away from."""
    return "neg" in kind


def encoded(
    model: Any, reference: Reference, run: ReferenceRun, guider: Any, device: Any, seed: Any
) -> tuple[list[Cond], list[Cond]]:
    """The reference's positive and negative conds, as the host's `model` takes them in a run of its `guider`."""
    # As they were given: the host adds to those of a run, such as a negative for each area.
    positive = reference.positive or zeroed(_plain(_of_kind(guider.original_conds, POSITIVE))[:1])
    negative = reference.negative or _plain(_of_kind(guider.original_conds, NEGATIVE)) or zeroed(positive)
    noise, clean = torch.zeros_like(run.clean), run.clean
    own: dict[str, list[Cond]] = {}
    for kind, name, given in ((POSITIVE, "positive", positive), (NEGATIVE, "negative", negative)):
        template = _of_kind(guider.conds, kind)
        plain = _without(first_row(given), _OF_PLACES)
        own[name] = [_with_pictures(model, run, cond, template) for cond in convert_cond(plain)]
    processed = comfy.samplers.process_conds(model, noise, own, device, latent_image=clean, seed=seed)
    return processed["positive"], processed["negative"]


def _of_kind(conds: Mapping[str, Sequence[Cond]], kind: int) -> Sequence[Cond]:
    """The targets' first list of conds of a kind."""
    return next((conds[name] for name in conds if is_negative(name) == (kind == NEGATIVE)), [])


def _plain(conds: Sequence[Cond]) -> Conditioning:
    """The targets' conds as a CONDITIONING for the first row of their batch."""
    entries = [[cond.get("cross_attn"), {**cond, "model_conds": _unencoded(cond)}] for cond in conds]
    rows = [*first_row([each for each in entries if each[0] is not None]), *(e for e in entries if e[0] is None)]
    return _without(rows, {*_OF_PLACES, *PICTURES})


def _without(conditioning: Conditioning, names: Collection[str]) -> Conditioning:
    return [
        [text, {key: value for key, value in options.items() if key not in names}] for text, options in conditioning
    ]


def _unencoded(cond: Cond) -> dict[str, Any]:
    """What nodes have put among a cond's model_conds; the rest is the model's own, of the targets' size."""
    return {name: value for name, value in cond["model_conds"].items() if name.startswith("style_aligned")}


def _with_pictures(model: Any, run: ReferenceRun, cond: Cond, template: Sequence[Cond]) -> Cond:
    """`cond` with the pictures that the targets' conds of its kind have, of the reference, where it has none itself."""
    if not template or any(name in cond for name in PICTURES):
        return cond
    pictures = {name: template[0][name] for name in PICTURES if name in template[0]}
    made = of_reference(model, run, {**pictures, "model_conds": template[0]["model_conds"]})
    return {**cond, **{name: made[name] for name in PICTURES if name in made}}


def active(conds: Sequence[Cond], sigma: Tensor) -> list[Cond]:
    """Those of the conds that the host takes at a noise level: their range of the sampling process may be another."""
    level = float(sigma)
    return [
        cond for cond in conds
        if level <= cond.get("timestep_start", level) and level >= cond.get("timestep_end", level)
    ]  # fmt: skip
