"""Draw the pictures of the help pages: what each important setting does to a set, as the icon model draws it.

    COMFYUI_PATH=path/to/ComfyUI python -m devtools.pictures.help_pictures [NAME ...]

Runs in the host's Python, on its CPU and one thread, with the pack's own nodes: the same model gives the same pictures.
Without names all are drawn, which takes a few minutes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from devtools import ROOT
from devtools.comfyui.icon_model import Loaded, load_icon_model, shared
from devtools.comfyui.inprocess import load_pack, start_host
from devtools.measuring.inversion_error import sample_from_noise
from devtools.pictures import help_maps
from devtools.pictures.help_plans import SUBJECTS, Apart, Given, Inversion, Masked, Picture, Plan, pictures
from devtools.pictures.help_strip import Row, save, strip
from toy import icons

PICTURES = ROOT / "web" / "docs" / "images"
WIDTH = 598  # of the help panel, in pixels
STEPS, CFG, SAMPLER = 30, 3.0, ("ddim", "ddim_uniform")
LOOKS = 8  # steps at which is recorded where targets look
GIVEN = ((3, {"striped", "inked", "dotted"}), (5, {"plain", "chalked", "flat", "dark"}))
"""The given icons: a seed, and what their styles have."""


class Artist:
    """Draws plans with the pack's nodes and the host's sampler; nothing is computed twice."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.icons = [{"samples": loaded.vae.encode(given_icon(seed, words))} for seed, words in GIVEN]
        self.records: dict[Plan, Any] = {}
        """Of plans that are looked at: what Record Attention gives."""
        self._sampled: dict[Plan, Tensor] = {}
        self._inverted: dict[Inversion, Any] = {}

    def draw(self, plan: Plan) -> list[Image.Image]:
        """The set's pictures, the reference first."""
        latents = self.sample(plan)
        if plan.given and plan.given.sampled_back:
            latents = torch.cat([latents[:1], self._sampled_back(plan.given.inversion), latents[1:]])
        if plan.apart:
            latents = torch.cat([*(icon["samples"] for icon in self.icons[: len(plan.apart.weights)]), latents])
        pixels = self.loaded.vae.decode(latents).float().clamp(0, 1)
        return [Image.fromarray(array) for array in (pixels * 255).round().byte().numpy()]

    def sample(self, plan: Plan) -> Tensor:
        """The set's latents."""
        if plan not in self._sampled:
            self._sampled[plan] = self._sample(plan)
        return self._sampled[plan]

    def _sample(self, plan: Plan) -> Tensor:
        model = shared(self.loaded.model, None if plan.sharing is None else dict(plan.sharing))
        if plan.one_by_one:
            return self._one_by_one(plan, model)
        if plan.looked:
            model, self.records[plan] = recorded(model)
        model, latent, positive = self._prepare(plan, model)
        return self._run(plan, model, latent, positive)

    def _run(self, plan: Plan, model: Any, latent: dict[str, Any], positive: Any) -> Tensor:
        from nodes import common_ksampler  # the host's

        denoise = plan.given.denoise if plan.given else 1.0
        settings = plan.seed, STEPS, CFG, *SAMPLER
        [sampled] = common_ksampler(model, *settings, positive, self.loaded.encode(""), latent, denoise=denoise)
        return sampled["samples"]

    def _prepare(self, plan: Plan, model: Any) -> tuple[Any, dict[str, Any], Any]:
        """The model to sample with, the latent to start from and the set's conditioning."""
        if plan.kept_from:
            return self._from_file(plan, model)
        positive = self._prompts(plan)
        if plan.masked:
            model = masked(model, plan.masked)
        if plan.apart:
            model = self._with_references(plan.apart, model)
        if plan.given:
            return *self._from_icon(plan.given, model, len(plan.prompts) - 1), positive
        return model, {"samples": empty(len(plan.prompts))}, positive

    def _with_references(self, apart: Apart, model: Any) -> Any:
        from style_aligned.nodes.reference import StyleAlignedReference

        prompt = self.loaded.encode(SUBJECTS[0])
        for icon, weight in zip(self.icons, apart.weights, strict=False):
            model = StyleAlignedReference.execute(model, icon, prompt, weight=weight, thin=apart.thin).result[0]
        return model

    def _one_by_one(self, plan: Plan, model: Any) -> Tensor:
        """As in one batch: each image with the noise of its row."""
        from style_aligned.nodes.record import StyleAlignedRecord
        from style_aligned.nodes.reference import StyleAlignedReference

        recording, path = StyleAlignedRecord.execute(model).result
        prompts = [self.loaded.encode(prompt) for prompt in plan.prompts]
        first = self._run(plan, recording, {"samples": empty(1), "batch_index": [0]}, prompts[0])
        model = StyleAlignedReference.execute(model, {"samples": first}, prompts[0], trajectory=path).result[0]
        others = [
            self._run(plan, model, {"samples": empty(1), "batch_index": [row]}, prompt)
            for row, prompt in enumerate(prompts[1:], 1)
        ]
        return torch.cat([first, *others])

    def _from_icon(self, given: Given, model: Any, targets: int) -> tuple[Any, dict[str, Any]]:
        from style_aligned.nodes.reference_latent import StyleAlignedReferenceLatent

        trajectory = self._invert(given.inversion) if given.inversion else None
        return StyleAlignedReferenceLatent.execute(
            model, self.icons[0], targets, given.start_from, trajectory, given.offset
        ).result

    def _invert(self, inversion: Inversion) -> Any:
        from style_aligned.nodes.invert import StyleAlignedInvert

        if inversion not in self._inverted:
            inputs = (
                self.loaded.encode(SUBJECTS[0]),
                self.icons[0],
                inversion.steps,
                inversion.cfg,
                self.loaded.encode(""),
            )
            self._inverted[inversion] = StyleAlignedInvert.execute(self.loaded.model, *inputs).result[0]
        return self._inverted[inversion]

    def _sampled_back(self, inversion: Inversion) -> Tensor:
        positive, negative = self.loaded.encode(SUBJECTS[0]), self.loaded.encode("")
        return sample_from_noise(self.loaded.model, positive, negative, self._invert(inversion), inversion.cfg)

    def _from_file(self, plan: Plan, model: Any) -> tuple[Any, dict[str, Any], Any]:
        """As the workflows do: Latent From Batch's first picture to Save Style, and Load Style to the new set."""
        from style_aligned.nodes.reference_latent import StyleAlignedReferenceLatent
        from style_aligned.nodes.style_files import StyleAlignedLoadStyle, StyleAlignedSaveStyle

        first = {"samples": self.sample(plan.kept_from)[:1]}
        saved = StyleAlignedSaveStyle.execute(model, first, "style", None, self._prompts(plan.kept_from))
        name = Path(saved.ui["text"][0]).name
        reference, trajectory, conditioning, _ = StyleAlignedLoadStyle.execute(name).result
        targets = len(plan.prompts)
        model, latent = StyleAlignedReferenceLatent.execute(model, reference, targets, "noise", trajectory).result
        return model, latent, self._prompts(plan, reference=conditioning)

    def _prompts(self, plan: Plan, **reference: Any) -> Any:
        from style_aligned.nodes.prompts import StyleAlignedPrompts

        return StyleAlignedPrompts.execute(self.loaded.clip, "\n".join(plan.prompts), plan.style, **reference).result[0]


def masked(model: Any, wanted: Masked) -> Any:
    from style_aligned.nodes.masks import StyleAlignedMasks

    style, target = named_mask(wanted.style), named_mask(wanted.target)
    return StyleAlignedMasks.execute(model, style, target, wanted.protect_content).result[0]


def recorded(model: Any) -> tuple[Any, Any]:
    """The model, and the record of where its targets look."""
    from style_aligned.nodes.attention_map import StyleAlignedRecordAttention

    return StyleAlignedRecordAttention.execute(model, LOOKS).result


def named_mask(name: str | None) -> Tensor | None:
    """As MASK: (1, height, width)."""
    if name is None:
        return None
    middle, right = torch.zeros(1, 4, 4), torch.zeros(1, 4, 4)
    middle[:, 1:3, 1:3] = right[:, :, 2:] = 1.0
    return {"middle": middle, "border": 1.0 - middle, "right half": right}[name]


def empty(images: int) -> Tensor:
    return torch.zeros(images, 3, icons.SIZE, icons.SIZE)


def given_icon(seed: int, words: set[str]) -> Tensor:
    """A given icon as IMAGE, in the first random style that has all the words wanted."""
    rng = np.random.default_rng(seed)
    styles = iter(lambda: icons.random_style(rng), None)
    style = next(style for style in styles if set(style.words) >= words)
    return torch.from_numpy(icons.draw(rng, SUBJECTS[0], style)).float()[None] / 255


def main(arguments: Sequence[str]) -> None:
    known = {picture.name: picture for picture in pictures()}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(known)}")
    names = parser.parse_args(arguments).names or list(known)
    if unknown := set(names) - known.keys():
        parser.error(f"no picture is called {', '.join(sorted(unknown))}")
    start_host("--cpu")
    load_pack()
    torch.set_num_threads(1)
    artist = Artist(load_icon_model())
    PICTURES.mkdir(parents=True, exist_ok=True)
    with torch.inference_mode(), style_folder():
        for name in names:
            draw(known[name], artist, PICTURES / f"{name}.png")


def draw(picture: Picture, artist: Artist, path: Path) -> None:
    if picture.measured or picture.mapped == "sheet":
        sheet = as_wide_as_the_panel((report if picture.measured else help_maps.sheet)(picture, artist))
        # it has more colours than a strip, of soft edges: evenly chosen ones are fewer bytes
        sheet.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(path, optimize=True)
    elif picture.mapped:
        save(strip(picture.columns, help_maps.rows(picture, artist)), path)
    else:
        save_strip(picture, artist, path)
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} KB", flush=True)


def report(picture: Picture, artist: Artist) -> Tensor:
    """What the node Report shows of the rows."""
    from style_aligned.shared_attention.report.drawing import drawn
    from style_aligned.shared_attention.report.measure import measure

    sets = []
    for heading, plan in picture.rows.items():
        icons_of_row = np.stack([np.asarray(icon, np.float32) / 255 for icon in artist.draw(plan)])
        sets.append(measure(heading, torch.from_numpy(icons_of_row), None))
    return drawn(sets)


def as_wide_as_the_panel(sheet: Tensor) -> Image.Image:
    """sheet: (1, height, width, 3)."""
    shown = Image.fromarray((sheet[0] * 255).round().byte().numpy())
    return shown.resize((WIDTH, round(shown.height * WIDTH / shown.width)), Image.Resampling.LANCZOS)


def save_strip(picture: Picture, artist: Artist, path: Path) -> None:
    rows = [
        Row(heading, artist.draw(plan), picture.references if plan.sharing is not None else 0)
        for heading, plan in picture.rows.items()
    ]
    save(strip(picture.columns, rows), path)


@contextmanager
def style_folder() -> Iterator[None]:
    """A folder of its own for the style that is saved and loaded."""
    import folder_paths
    from style_aligned.shared_attention.host import style_folder as folders

    output, known = folder_paths.get_output_directory(), folder_paths.folder_names_and_paths
    before = known.pop(folders.FOLDER, None)
    with tempfile.TemporaryDirectory() as folder:
        folder_paths.set_output_directory(folder)
        folders.register()
        try:
            yield
        finally:
            folder_paths.set_output_directory(output)
            known.pop(folders.FOLDER)
            if before:
                known[folders.FOLDER] = before


if __name__ == "__main__":
    main(sys.argv[1:])
