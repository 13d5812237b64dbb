"""Draw the pictures of the help pages: what each important setting does to a set, as the icon model draws it.

    COMFYUI_PATH=path/to/ComfyUI python -m devtools.help_pictures [NAME ...]

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

from devtools.help_plans import SUBJECTS, Given, Inversion, Picture, Plan, pictures
from devtools.icon_model import Loaded, load_icon_model, shared
from devtools.inprocess import load_pack, start_host
from devtools.inversion_error import sample_from_noise
from devtools.server import ROOT
from devtools.strip import Row, save, strip
from toy import icons

PICTURES = ROOT / "web" / "docs" / "images"
STEPS, CFG, SAMPLER = 30, 3.0, ("ddim", "ddim_uniform")
GIVEN_SEED, GIVEN_WORDS = 3, {"striped", "inked", "dotted"}


class Artist:
    """Draws plans with the pack's nodes and the host's sampler; nothing is computed twice."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.icon = {"samples": loaded.vae.encode(given_icon())}
        self._sampled: dict[Plan, Tensor] = {}
        self._inverted: dict[Inversion, Any] = {}

    def draw(self, plan: Plan) -> list[Image.Image]:
        """The set's pictures, the reference first."""
        latents = self.sample(plan)
        if plan.given and plan.given.sampled_back:
            latents = torch.cat([latents[:1], self._sampled_back(plan.given.inversion), latents[1:]])
        pixels = self.loaded.vae.decode(latents).float().clamp(0, 1)
        return [Image.fromarray(array) for array in (pixels * 255).round().byte().numpy()]

    def sample(self, plan: Plan) -> Tensor:
        """The set's latents."""
        if plan not in self._sampled:
            self._sampled[plan] = self._sample(plan)
        return self._sampled[plan]

    def _sample(self, plan: Plan) -> Tensor:
        from nodes import common_ksampler  # the host's

        model = shared(self.loaded.model, None if plan.sharing is None else dict(plan.sharing))
        model, latent, positive = self._prepare(plan, model)
        denoise = plan.given.denoise if plan.given else 1.0
        settings = plan.seed, STEPS, CFG, *SAMPLER
        [latent] = common_ksampler(model, *settings, positive, self.loaded.encode(""), latent, denoise=denoise)
        return latent["samples"]

    def _prepare(self, plan: Plan, model: Any) -> tuple[Any, dict[str, Any], Any]:
        """The model to sample with, the latent to start from and the set's conditioning."""
        if plan.kept_from:
            return self._from_file(plan, model)
        positive = self._prompts(plan)
        if plan.given:
            return *self._from_icon(plan.given, model, len(plan.prompts) - 1), positive
        return model, {"samples": torch.zeros(len(plan.prompts), 3, icons.SIZE, icons.SIZE)}, positive

    def _from_icon(self, given: Given, model: Any, targets: int) -> tuple[Any, dict[str, Any]]:
        from style_aligned.nodes.reference_latent import StyleAlignedReferenceLatent

        trajectory = self._invert(given.inversion) if given.inversion else None
        return StyleAlignedReferenceLatent.execute(
            model, self.icon, targets, given.start_from, trajectory, given.offset
        ).result

    def _invert(self, inversion: Inversion) -> Any:
        from style_aligned.nodes.invert import StyleAlignedInvert

        if inversion not in self._inverted:
            inputs = self.loaded.encode(SUBJECTS[0]), self.icon, inversion.steps, inversion.cfg, self.loaded.encode("")
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


def given_icon() -> Tensor:
    """The given icon as IMAGE, in the first random style that has all the words wanted."""
    rng = np.random.default_rng(GIVEN_SEED)
    styles = iter(lambda: icons.random_style(rng), None)
    style = next(style for style in styles if set(style.words) >= GIVEN_WORDS)
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
    rows = [Row(heading, artist.draw(plan), plan.sharing is not None) for heading, plan in picture.rows.items()]
    save(strip(picture.columns, rows), path)
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} KB", flush=True)


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
