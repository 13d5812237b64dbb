"""What the pack's nodes do beside a host patch, measured: the words of the table in docs/compatibility.md.

A word is given for the strongest property that holds in every order of the nodes; where none does, Broken is raised.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.samplers
import torch
from comfy.model_patcher import ModelPatcher
from extension.models import TinyClip
from host_patches import Conditioning, HostPatch
from inversion_oracles import alphas_of, ddim_inversion
from masked_oracles import Given, MaskedUNet
from oracle_model import OracleModel
from oracles import relative_error
from sampling import noise, rows_of, sample, shared
from style_aligned.nodes.invert import StyleAlignedInvert
from style_aligned.nodes.masks import StyleAlignedMasks
from style_aligned.nodes.prompts import StyleAlignedPrompts
from style_aligned.nodes.reference import StyleAlignedReference
from style_aligned.nodes.reference_latent import StyleAlignedReferenceLatent
from tiny_models import conditioning, tiny_model
from torch import Tensor

EQUATIONS, REFERENCE_EXACT, BESIDE = "equations", "reference exact", "stands aside"
ROWS_EXACT, ROW_EXACT = "all exact", "row exact"
AS_IN_BATCH, STYLE_ONLY = "as in the batch", "its style"
EACH_ALONE, COUPLED = "each as alone", "as the host's batch"
NO_BATCH = "no batches"
PARTS, PARTLY_LEFT_OUT = "in their parts", "left out in some layers"

ROUNDING = 1e-5
"""Relative, of one model call; SEVERAL: of several, where rounding grows."""
SEVERAL = 1e-4
MATTERS = 1e-3

Wrap = Callable[[ModelPatcher], ModelPatcher]


class NoBatch(Exception):
    """The host itself fails on a batch with the patch."""


class Broken(AssertionError):
    """The two do not work together, and neither says so."""


def run(patch: HostPatch, model: ModelPatcher, positive: Conditioning | None = None, **settings: Any) -> Tensor:
    """A set sampled with a patched `model`, with the same random numbers every time."""
    settings = {"steps": 1, "images": 3, **patch.settings, **settings}
    images = settings.pop("images")
    start = settings.pop("start", None)
    start = noise(images, *patch.size) if start is None else start
    positive = conditioning(len(start), seed=1) if positive is None else positive
    torch.manual_seed(0)  # token merging picks tokens at random
    return sample(model, initial=start, positive=patch.condition(positive), **settings)


def without_the_pack(patch: HostPatch, model: ModelPatcher) -> Tensor:
    """The set that the host samples with the patch alone."""
    try:
        return run(patch, patch.patch(model))
    except (IndexError, RuntimeError) as error:
        raise NoBatch(patch.name) from error


def tolerance(patch: HostPatch) -> float:
    return ROUNDING if patch.settings.get("steps", 1) == 1 else SEVERAL


def share_attention(patch: HostPatch, **options: Any) -> str:
    """The word for Share Attention with `options`, before and after the patch's node."""
    model = tiny_model("sd15")
    plain = without_the_pack(patch, model)
    before, after = run(patch, patch.patch(shared(model, **options))), run(patch, shared(patch.patch(model), **options))
    off = run(patch, shared(patch.patch(model), **options, end_percent=0.0))
    _require(before.isfinite().all(), "the pictures are not finite")
    _require(relative_error(before, after) <= tolerance(patch), "the order of the nodes matters")
    _require(torch.equal(off, plain), "with sharing off the pictures are not the patch's own")
    _require(relative_error(before[1:], plain[1:]) > MATTERS, "sharing does nothing")
    equations = {name: value for name, value in options.items() if name != "share_group_norm"}
    oracle = OracleModel("sd15", equations, options.get("share_group_norm", False))
    try:
        if relative_error(before, run(patch, patch.patch(oracle.patcher))) <= tolerance(patch):
            return EQUATIONS
    except (RuntimeError, AssertionError):  # the oracle takes a layer's own tokens only
        pass
    _require(relative_error(before[0], plain[0]) <= ROUNDING, "the reference is not what it is without sharing")
    return REFERENCE_EXACT


def picture(patch: HostPatch) -> Tensor:
    return 5 * noise(1, *patch.size, seed=11)


def reference_latent(patch: HostPatch, with_trajectory: bool) -> str:
    """The word for Reference Latent, before and after the patch's node, with sharing and without."""
    model = tiny_model("sd15")
    plain = without_the_pack(patch, model)
    path = trajectory(patch, model) if with_trajectory else None
    targets = patch.settings.get("images", 3) - 1
    latent = torch.cat([picture(patch), torch.zeros(targets, 4, *patch.size)])

    def hold(patched: ModelPatcher) -> ModelPatcher:
        inputs = {"targets": targets, "start_from": "noise", "trajectory": path}
        return StyleAlignedReferenceLatent.execute(patched, {"samples": picture(patch)}, **inputs).result[0]

    orders: list[Wrap] = [lambda plain: patch.patch(hold(plain)), lambda plain: hold(patch.patch(plain))]
    for build in orders:
        for base in (model, shared(model)):
            out = run(patch, build(base), latent=latent)
            _require(out.isfinite().all(), "the pictures are not finite")
            _require(torch.equal(out[:1], picture(patch)), "row 0 is not the reference")
    held = [run(patch, build(model), latent=latent) for build in orders]
    _require(relative_error(held[0], held[1]) <= tolerance(patch), "the order of the nodes matters")
    return ROWS_EXACT if relative_error(held[0][1:], plain[1:]) <= tolerance(patch) else ROW_EXACT


def reference_apart(patch: HostPatch) -> str:
    """The word for Reference, in every order with the patch's node and Share Attention.

    Its targets are compared with those of a batch that has the same picture and prompt in row 0, by Reference Latent.
    """
    model, targets = tiny_model("sd15"), patch.settings.get("images", 3) - 1
    without_the_pack(patch, model)
    texts, start = conditioning(1 + targets, seed=1), noise(1 + targets, *patch.size)[1:]
    own, positive = rows_of(texts, slice(0, 1)), rows_of(texts, slice(1, None))

    def add(patched: ModelPatcher, weight: float = 1.0) -> ModelPatcher:
        given = {"conditioning": own, "weight": weight}
        return StyleAlignedReference.execute(patched, {"samples": picture(patch)}, **given).result[0]

    orders: list[Wrap] = [
        lambda plain: patch.patch(add(shared(plain))),
        lambda plain: add(shared(patch.patch(plain))),
        lambda plain: shared(patch.patch(add(plain))),
    ]
    found = [run(patch, build(model), positive, start=start) for build in orders]
    plain = run(patch, patch.patch(model), positive, start=start)
    off = run(patch, add(shared(patch.patch(model), end_percent=0.0)), positive, start=start)
    weightless = run(patch, add(shared(patch.patch(model)), weight=0.0), positive, start=start)
    without = run(patch, shared(patch.patch(model)), positive, start=start)
    _require(found[0].isfinite().all(), "the pictures are not finite")
    for other in found[1:]:
        _require(relative_error(found[0], other) <= tolerance(patch), "the order of the nodes matters")
    _require(torch.equal(off, plain), "with sharing off the pictures are not the patch's own")
    _require(torch.equal(weightless, without), "a reference of weight 0 does something")
    _require(relative_error(found[0], plain) > MATTERS, "sharing does nothing")
    latent = torch.cat([picture(patch), torch.zeros(targets, 4, *patch.size)])
    inputs = {"targets": targets, "start_from": "noise", "trajectory": None}
    held = StyleAlignedReferenceLatent.execute(shared(patch.patch(model)), {"samples": picture(patch)}, **inputs)
    in_batch = run(patch, held.result[0], texts, latent=latent)[1:]
    return AS_IN_BATCH if relative_error(found[0], in_batch) <= tolerance(patch) else STYLE_ONLY


def masked(patch: HostPatch) -> str:
    """The word for Masks with a mask over the reference and one over the targets, in every order with the others."""
    model = tiny_model("sd15")
    plain = without_the_pack(patch, model)
    style = torch.linspace(-0.3, 1.0, 16 * 16).clamp_min(0.0).view(1, 16, 16)
    target = torch.ones(1, 16, 16).tril()

    def add(patched: ModelPatcher, style: Tensor | None = style, target: Tensor | None = target) -> ModelPatcher:
        return StyleAlignedMasks.execute(patched, style, target).result[0]

    orders: list[Wrap] = [
        lambda plain: patch.patch(add(shared(plain))),
        lambda plain: add(shared(patch.patch(plain))),
        lambda plain: shared(patch.patch(add(plain))),
    ]
    found = [run(patch, build(model)) for build in orders]
    unmasked = run(patch, shared(patch.patch(model)))
    off = run(patch, add(shared(patch.patch(model), end_percent=0.0)))
    black = run(patch, add(shared(patch.patch(model)), None, torch.zeros(1, 8, 8)))
    _require(found[0].isfinite().all(), "the pictures are not finite")
    for other in found[1:]:
        _require(relative_error(found[0], other) <= tolerance(patch), "the order of the nodes matters")
    _require(torch.equal(off, plain), "with sharing off the pictures are not the patch's own")
    _require(not torch.equal(found[0], unmasked), "masks do nothing")
    if relative_error(black, plain) > tolerance(patch):
        return PARTLY_LEFT_OUT
    oracle = MaskedUNet("sd15", Given(style[0], target.expand(run_size(patch) - 1, -1, -1)))
    try:
        if relative_error(found[0], run(patch, patch.patch(oracle.patcher))) <= tolerance(patch):
            return EQUATIONS
    except (RuntimeError, AssertionError, StopIteration):  # the oracle takes a layer's own tokens only
        pass
    return PARTS


def run_size(patch: HostPatch) -> int:
    return int(patch.settings.get("images", 3))


def trajectory(patch: HostPatch, model: ModelPatcher) -> Any:
    return inversion(patch, model, steps=3)


def inversion(patch: HostPatch, model: ModelPatcher, steps: int) -> Any:
    """The output of Invert for the patch's picture."""
    torch.manual_seed(0)
    latent = {"samples": picture(patch)}
    positive, negative = patch.condition(conditioning(1, seed=1)), conditioning(1, seed=2)
    return StyleAlignedInvert.execute(model, positive, latent, steps, 2.0, negative).result[0]


class Recorded(comfy.samplers.Sampler):
    """Inverts by the float64 oracle, with the guided model that the host hands to its samplers."""

    def __init__(self, sigmas: list[float]) -> None:
        self.sigmas = sigmas
        self.latents: list[Tensor] = []

    def sample(
        self, model_wrap, sigmas, extra_args, callback, noise, latent_image, denoise_mask=None, disable_pbar=False
    ):
        def predict_noise(z: Tensor, level: int) -> Tensor:
            sigma = self.sigmas[level]
            x = z * (sigma**2 + 1) ** 0.5
            return (x - model_wrap(x, x.new_full((1,), sigma), **extra_args)) / sigma

        self.latents = ddim_inversion(predict_noise, latent_image, alphas_of(self.sigmas))
        return latent_image


def invert(patch: HostPatch) -> str:
    """The word for Invert of a patched model."""
    found = inversion(patch, patch.patch(tiny_model("sd15")), steps=3)
    unpatched = inversion(HostPatch(patch.name, size=patch.size), tiny_model("sd15"), steps=3)
    _require(found.latents.isfinite().all(), "the trajectory is not finite")
    exact = Recorded(found.sigmas.tolist())
    torch.manual_seed(0)
    zeros = torch.zeros_like(picture(patch)).double()
    comfy.sample.sample_custom(
        patch.patch(tiny_model("sd15", dtype=torch.float64)), zeros, 2.0, exact, found.sigmas,
        patch.condition(conditioning(1, seed=1)), conditioning(1, seed=2), picture(patch).double(),
        disable_pbar=True, seed=0,
    )  # fmt: skip
    error = relative_error(found.latents, torch.cat(exact.latents))
    if error <= SEVERAL:
        return EQUATIONS
    _require(relative_error(found.latents, unpatched.latents) <= SEVERAL, f"the inversion is off by {error:.1e}")
    return BESIDE


def prompts(patch: HostPatch) -> str:
    """The word for a batch with Prompts' conditioning: each picture against the same prompt's alone."""
    model, texts = tiny_model("sd15"), ["a cat", "a house by the sea", "a tree"]
    without_the_pack(patch, model)
    both = StyleAlignedPrompts.execute(TinyClip(), "\n".join(texts), "").result[0]
    together = run(patch, patch.patch(model), both, start=noise(3, *patch.size))
    _require(together.isfinite().all(), "the pictures are not finite")
    for row, text in enumerate(texts):
        one = StyleAlignedPrompts.execute(TinyClip(), text, "").result[0]
        alone = run(patch, patch.patch(model), one, start=noise(3, *patch.size)[row : row + 1])
        if relative_error(together[row], alone[0]) > tolerance(patch):
            return COUPLED
    return EACH_ALONE


def word(measure: Callable[[HostPatch], str], patch: HostPatch) -> str:
    """The word for a column's cell."""
    try:
        return measure(patch)
    except NoBatch:
        return NO_BATCH


def _require(holds: Any, otherwise: str) -> None:
    if not holds:
        raise Broken(otherwise)


COLUMNS: dict[str, Callable[[HostPatch], str]] = {
    "Share Attention": share_attention,
    "with `share_group_norm`": lambda patch: share_attention(patch, share_group_norm=True, shift=0.5),
    "Reference Latent": lambda patch: reference_latent(patch, with_trajectory=False),
    "with a trajectory": lambda patch: reference_latent(patch, with_trajectory=True),
    "Reference": reference_apart,
    "Masks": masked,
    "Invert": invert,
    "Prompts": prompts,
}
