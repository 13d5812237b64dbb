"""Draws sets with a checkpoint of the user's, through the host's own loader and sampling and the pack's own nodes."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from devtools.checkpoint_evaluation.errors import EvaluationError
from devtools.checkpoint_evaluation.files import loading
from devtools.checkpoint_evaluation.sets import StyleSet
from devtools.checkpoint_evaluation.settings import Settings, default_settings
from devtools.comfyui.icon_model import Loaded, placed, shared
from devtools.evaluation.full_sharing import full_sharing
from devtools.evaluation.variants import VARIANTS

_OF_BOTH = (
    "plain", "defaults", "strength-0.25", "strength-0.5", "strength-0.75", "scale-0.5", "shift-ln2", "shift-1.5",
    "no-adain", "values", "early", "most", "late",
)  # fmt: skip
OF_UNETS = (*_OF_BOTH, "group-norm", "strong", "stronger", "strongest", "output", "everyone")
OF_TRANSFORMERS = (
    *_OF_BOTH, "all-blocks", "same", "nowhere", "no-high", "untwisted", "less-untwisted", "untwisted-no-adain",
    "chosen", "everyone",
)  # fmt: skip
"""The variants of the icon models' evaluation that say something of any checkpoint of a kind."""
UNLIKE_PROMPTS = ("a", "a lighthouse on a cliff above the sea in the light of an early winter morning, " * 2)
FLOOR, OURS, CEILING = "plain", "defaults", "everyone"
USUAL_OF_UNETS = (FLOOR, OURS, "shift-ln2", "no-adain", CEILING)
USUAL_OF_TRANSFORMERS = (FLOOR, OURS, "no-adain", "chosen", CEILING)


def load_checkpoint(path: Path) -> Loaded:
    """A checkpoint with all its parts, the icon models' too."""
    from comfy.sd import load_checkpoint_guess_config

    from toy.model import register

    register()
    with loading(path, "checkpoints"):
        model, clip, vae = load_checkpoint_guess_config(str(path))[:3]
    parts = {"diffusion model": model, "text encoder": clip, "VAE": vae}
    if lacking := [name for name, part in parts.items() if part is None]:
        raise EvaluationError(
            f"{path.name} has no {' and no '.join(lacking)}. This takes a checkpoint with all parts in one file; the "
            "node Save Checkpoint makes one of a model that is loaded in parts."
        )
    return Loaded(model, clip, vae)


@dataclass(frozen=True)
class Studio:
    """A loaded checkpoint and how it draws. The same seed and noise for every variant of a set."""

    loaded: Loaded
    settings: Settings
    seed: int

    @classmethod
    def of(cls, loaded: Loaded, seed: int, **chosen: Any) -> Studio:
        """chosen: what the user says of the settings; None where it is left to the model's family."""
        from style_aligned.shared_attention.host.families import find

        try:
            find(loaded.model.model.diffusion_model)
        except ValueError as error:
            raise EvaluationError(str(error)) from error
        said = {name: value for name, value in chosen.items() if value is not None}
        return cls(loaded, replace(default_settings(loaded.model.model), **said), seed)

    @property
    def is_unet(self) -> bool:
        from style_aligned.shared_attention.host.families import find
        from style_aligned.shared_attention.host.families.unet import UNetFamily

        return isinstance(find(self.loaded.model.model.diffusion_model), UNetFamily)

    @property
    def has_positions(self) -> bool:
        from style_aligned.shared_attention.host.positions import has_positions

        return has_positions(self.loaded.model)

    @property
    def family(self) -> str:
        return type(self.loaded.model.model.model_config).__name__

    @property
    def precision(self) -> str:
        return str(self.loaded.model.model.get_dtype()).removeprefix("torch.")

    @property
    def meets(self) -> bool:
        """Whether the images of a set are in one model call, though their prompts have unlike numbers of tokens."""
        from style_aligned.nodes.prompts import StyleAlignedPrompts
        from style_aligned.shared_attention.lines import LINE

        positive = StyleAlignedPrompts.execute(self.loaded.clip, "\n".join(UNLIKE_PROMPTS), "").result[0]
        return not any(LINE in options for _, options in positive)

    def variants(self, asked: list[str] | None) -> list[str]:
        """The keys asked for, with the model alone first; the usual ones where none is."""
        possible = OF_UNETS if self.is_unet else OF_TRANSFORMERS
        usual = USUAL_OF_UNETS if self.is_unet else USUAL_OF_TRANSFORMERS
        kind = "a UNet" if self.is_unet else "a transformer"
        if not self.is_unet and not self.has_positions:
            kind = "a transformer without rotary positions"
            possible, usual = (tuple(key for key in keys if not VARIANTS[key].positions) for keys in (possible, usual))
        keys = usual if asked is None else (FLOOR, *asked)
        if unknown := [key for key in keys if key not in possible]:
            raise EvaluationError(
                f"--variants {unknown[0]} says nothing of this checkpoint, which is {kind}; such have: "
                f"{', '.join(possible)}"
            )
        return [key for key in dict.fromkeys(keys) if key != CEILING or self.meets]

    def model(self, key: str) -> Any:
        """The checkpoint's model with the nodes of a variant."""
        variant = VARIANTS[key]
        if variant.everyone:
            return full_sharing(self.loaded.model, self.is_unet)
        # Off is off, to the bit; and lines of unlike length cost a transformer what they cost alone.
        sharing = {"strength": 0.0} if variant.sharing is None and not self.is_unet else variant.sharing
        return placed(shared(self.loaded.model, sharing), variant.positions)

    def draw(self, key: str, wanted: StyleSet) -> tuple[Tensor, float]:
        """The pictures of a set, the reference first: (pictures, height, width, 3) of 0..1; and the seconds it took."""
        from style_aligned.nodes.prompts import StyleAlignedPrompts

        from nodes import EmptyLatentImage, VAEDecode, common_ksampler  # the host's

        started = time.perf_counter()
        positive = StyleAlignedPrompts.execute(self.loaded.clip, wanted.prompts, wanted.style).result[0]
        negative = self.loaded.encode("")
        size, steps, cfg, *sampling = vars(self.settings).values()
        [latent] = EmptyLatentImage().generate(size, size, len(wanted.objects))
        seed = self.seed + wanted.number
        [drawn] = common_ksampler(self.model(key), seed, steps, cfg, *sampling, positive, negative, latent)
        [pictures] = VAEDecode().decode(self.loaded.vae, drawn)
        pictures = pictures.float().cpu()
        if not pictures.isfinite().all():
            raise EvaluationError(
                f"the pictures of set {wanted.number} are not made of numbers: the model or its VAE overflowed; try "
                "--precision bf16 or fp32"
            )
        return pictures.clamp(0, 1), time.perf_counter() - started
