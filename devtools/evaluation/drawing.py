"""Draws sets through the host's own sampling and the pack's own nodes, and keeps each set's pictures and reading."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from multiprocessing import get_context
from typing import Any

import torch
from torch import Tensor

from devtools.comfyui.icon_model import ICON_MODELS, load_icon_model, masked, placed, shared
from devtools.comfyui.inprocess import load_pack, start_host
from devtools.evaluation.full_sharing import full_sharing
from devtools.evaluation.model_quality import captions
from devtools.evaluation.readings import Reading, read
from devtools.evaluation.sets import TARGETS, Plan, plan
from devtools.evaluation.shelf import Shelf, Task
from devtools.evaluation.variants import VARIANTS, Apart, Moment, Variant
from toy import icons, judge
from toy.precision import half_precision

STEPS, CFG = {"unet": 12, "flux": 20}, 3.0
QUALITY_STEPS, QUALITY_CFGS = 30, (1.0, 2.0, CFG)
SAMPLES_AT_ONCE = 20
INVERSION_STEPS, INVERSION_CFG = 50, 2.0

SAMPLES = {f"samples-cfg-{cfg:g}": cfg for cfg in QUALITY_CFGS}  # of the model alone


class Studio:
    """An icon model in this process's host, as its loader returns it, and the nodes."""

    def __init__(self, model: str) -> None:
        start_host("--cpu", "--use-pytorch-cross-attention")  # the faster one here
        load_pack()
        self.name, self.kind, self.steps = model, ICON_MODELS[model], STEPS[model]
        self.loaded = load_icon_model(self.kind.checkpoint)
        self.reader = self.loaded if model == "unet" else load_icon_model()
        self.empty = self.loaded.encode("")
        self.judge = judge.load()

    def draw(self, variant: Variant, wanted: Plan) -> Tensor:
        """The pictures of a set, the reference first: (1 + TARGETS, SIZE, SIZE, 3), 0..1."""
        if variant.source == "apart":
            return self._draw_apart(variant, wanted)
        if variant.changes:
            return self._draw_step_by_step(variant, wanted)
        model = self.sharing(variant)
        if variant.source != "text":
            return self.draw_with(*self._with_picture(model, variant, wanted), wanted)
        return self.draw_with(model, blank(1 + TARGETS), wanted)

    def draw_with(self, model: Any, latent: dict[str, Any], wanted: Plan) -> Tensor:
        """The pictures of a set by a model that the nodes made, from a latent of theirs."""
        positive = self._encoded(wanted.prompts, wanted.style)
        return self._sample(model, wanted.number, positive, latent, self.steps, CFG)

    def _draw_step_by_step(self, variant: Variant, wanted: Plan) -> Tensor:
        """The same as a user would with a KSampler (Advanced) a step, each with nodes of its own."""
        from comfy.samplers import calculate_sigmas

        positive = self._encoded(wanted.prompts, wanted.style)
        sampling, latent = self.loaded.model.get_model_object("model_sampling"), blank(1 + TARGETS)
        for step, noise in enumerate(calculate_sigmas(sampling, self.kind.scheduler, self.steps)[:-1].tolist()):
            model = self.sharing(variant.at(Moment(step / (self.steps - 1), noise)))
            part = {"start_step": step, "last_step": step + 1, "disable_noise": step > 0}
            latent = self._denoise(model, wanted.number, positive, latent, self.steps, CFG, **part)
        return self._decode(latent)

    def sharing(self, variant: Variant) -> Any:
        """The model with the variant's nodes."""
        if variant.everyone:
            return full_sharing(self.loaded.model, self.name == "unet")
        model = placed(shared(self.loaded.model, variant.sharing), variant.positions)
        return masked(model, variant.masks)

    def _draw_apart(self, variant: Variant, wanted: Plan) -> Tensor:
        """The same, of a given picture that takes no place in the batch; the targets' noise is the same as with it."""
        apart = variant.apart
        positive = self._encoded(wanted.prompts_of_targets, wanted.style)
        described = self.loaded.encode(" ".join((wanted.shapes[0], *wanted.words)))
        model = shared(self.loaded.model, variant.sharing)
        model = self._with_reference(model, apart, wanted.picture, described, 1 - apart.mix)
        if apart.mix:
            model = self._with_reference(model, apart, wanted.second, self.loaded.encode(wanted.shapes[0]), apart.mix)
        targets = self._sample(model, wanted.number, positive, blank(TARGETS), self.steps, CFG)
        return torch.cat([as_pictures(wanted.picture), targets])

    def _with_reference(self, model: Any, apart: Apart, picture: icons.Picture, described: Any, weight: float) -> Any:
        import comfy.utils
        from style_aligned.nodes.reference import StyleAlignedReference

        pixels, side = as_pictures(picture), round(apart.size * icons.SIZE)
        if side != icons.SIZE:  # the same picture to the bit, or it gets another noise
            method = "area" if side < icons.SIZE else "bicubic"
            sized = comfy.utils.common_upscale(pixels.movedim(-1, 1), side, side, method, "disabled")
            pixels = sized.movedim(1, -1).clamp(0, 1)
        reference = {"samples": self.loaded.vae.encode(pixels)}
        settings = {"conditioning": described, "weight": weight, "thin": apart.thin}
        return StyleAlignedReference.execute(model, reference, **settings).result[0]

    def draw_samples(self, part: int, cfg: float) -> Tensor:
        """Pictures of the model alone, to judge it by: (SAMPLES_AT_ONCE, SIZE, SIZE, 3), 0..1."""
        positive = self._encoded("\n".join(" ".join(caption) for caption in captions(part, SAMPLES_AT_ONCE)), "")
        return self._sample(self.loaded.model, part, positive, blank(SAMPLES_AT_ONCE), QUALITY_STEPS, cfg)

    def _encoded(self, prompts: str, style: str) -> Any:
        """CONDITIONING of one prompt a line."""
        from style_aligned.nodes.prompts import StyleAlignedPrompts

        return StyleAlignedPrompts.execute(self.loaded.clip, prompts, style).result[0]

    def _sample(self, model: Any, seed: int, positive: Any, latent: dict[str, Any], steps: int, cfg: float) -> Tensor:
        return self._decode(self._denoise(model, seed, positive, latent, steps, cfg))

    def _denoise(
        self, model: Any, seed: int, positive: Any, latent: dict[str, Any], steps: int, cfg: float, **part: Any
    ) -> dict[str, Any]:
        from nodes import common_ksampler  # the host's

        settings = (steps, cfg, self.kind.sampler, self.kind.scheduler)
        drawn: dict[str, Any] = common_ksampler(model, seed, *settings, positive, self.empty, latent, **part)[0]
        return drawn

    def _decode(self, latent: dict[str, Any]) -> Tensor:
        pictures: Tensor = self.loaded.vae.decode(latent["samples"])
        return pictures.float().clamp(0, 1)

    def read(self, pictures: Tensor) -> Reading:
        """Features are the UNet's, of any model's pictures."""
        from comfy.model_management import load_models_gpu

        load_models_gpu([self.reader.model])
        return read(self.judge, self.reader.model.model, self.empty[0][0], pictures)

    def _with_picture(self, model: Any, variant: Variant, wanted: Plan) -> tuple[Any, dict[str, Any]]:
        from style_aligned.nodes.invert import StyleAlignedInvert
        from style_aligned.nodes.reference_latent import StyleAlignedReferenceLatent

        reference = {"samples": self.loaded.vae.encode(as_pictures(wanted.picture))}
        trajectory = None
        if variant.source == "inverted":
            described = self.loaded.encode(" ".join((wanted.shapes[0], *wanted.words)))
            trajectory = StyleAlignedInvert.execute(
                self.loaded.model, described, reference, INVERSION_STEPS, INVERSION_CFG, self.empty
            ).result[0]
        model, latent = StyleAlignedReferenceLatent.execute(model, reference, TARGETS, "noise", trajectory).result
        return model, latent


def blank(images: int) -> dict[str, Any]:
    """A LATENT of that many icons, for a sampler to start from noise alone."""
    return {"samples": torch.zeros(images, 3, icons.SIZE, icons.SIZE)}


def as_pictures(picture: icons.Picture) -> Tensor:
    """A batch of one: (1, SIZE, SIZE, 3), 0..1."""
    return torch.from_numpy(picture).float()[None] / 255


@cache
def studio_of(model: str) -> Studio:
    """One of a process, on one thread: on pictures this small, threads wait for each other most of the time."""
    torch.set_num_threads(1)
    return Studio(model)


def draw_missing(shelf: Shelf, tasks: Iterable[Task], workers: int) -> Iterator[int]:
    """Draw and read the sets that are not there yet, yielding how many are left before the first and after each.

    One worker is this process.
    """
    missing = [task for task in tasks if not (shelf.has_pictures(task) and shelf.has_reading(task))]
    yield len(missing)
    if workers == 1:
        for done, task in enumerate(missing, start=1):
            _draw(shelf, task)
            yield len(missing) - done
    elif missing:
        yield from _draw_in_others(shelf, missing, workers)


def _draw_in_others(shelf: Shelf, missing: Sequence[Task], workers: int) -> Iterator[int]:
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        drawing = [pool.submit(_draw, shelf, task) for task in missing]
        try:
            for done, future in enumerate(as_completed(drawing), start=1):
                future.result()
                yield len(missing) - done
        finally:
            pool.shutdown(cancel_futures=True)  # after an error or Ctrl-C, draw no more


def _draw(shelf: Shelf, task: Task) -> None:
    studio = studio_of(shelf.model)
    if not shelf.has_pictures(task):
        key, number = task
        with torch.inference_mode(), half_precision():
            if key in SAMPLES:
                pictures = studio.draw_samples(number, SAMPLES[key])
            else:
                pictures = studio.draw(VARIANTS[key], plan(number, shelf.hard))
        shelf.put_pictures(task, pictures)
    with torch.inference_mode():
        shelf.put_reading(task, studio.read(shelf.pictures(task)))
