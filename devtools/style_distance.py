"""How close a set's colours come to its reference's: made from text, or given as a picture, noise-matched or inverted.

    COMFYUI_PATH=path/to/ComfyUI python -m devtools.style_distance [--sets 16]

Sets of one reference and four targets of other shapes, drawn by the icon model with the pack's own nodes; the same
references, prompts and seeds for every variant. Distances are Euclidean in RGB, 0..1 a channel.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from devtools.inprocess import load_pack, start_host
from devtools.server import TOY_CHECKPOINT

SOLID_SHAPES = ["circle", "square", "heart", "diamond", "house", "mushroom", "star", "triangle"]
TARGETS = 4
STEPS, CFG, SAMPLER = 30, 3.0, ("ddim", "ddim_uniform")
INVERSION_STEPS, INVERSION_CFG = 50, 2.0
STRONGER = {"shift": math.log(2), "share_group_norm": True}
FRAME = 2  # pixels of backdrop around an icon
CORE = 5  # pixels from the centre that are within every solid shape


@dataclass
class Variant:
    """One way to make a set; `from_picture` sets have a given picture as their reference."""

    name: str
    from_picture: bool
    sharing: dict[str, Any] | None
    inverted: bool = False
    backdrop: list[float] = field(default_factory=list)
    fill: list[float] = field(default_factory=list)


def variants() -> list[Variant]:
    return [
        Variant("from text, alone", False, None),
        Variant("from text, shared", False, {}),
        Variant("from text, shared, group norm and shift ln 2", False, STRONGER),
        Variant("from a picture, alone", True, None),
        Variant("from a picture, noise-matched", True, {}),
        Variant("from a picture, noise-matched, group norm and shift ln 2", True, STRONGER),
        Variant("from a picture, inverted", True, {}, inverted=True),
        Variant("from a picture, inverted, group norm and shift ln 2", True, STRONGER, inverted=True),
    ]


@dataclass(frozen=True)
class Loaded:
    """The icon model as the host's loader returns it."""

    model: Any
    clip: Any
    vae: Any


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=16, help="sets a variant (default %(default)s)")
    chosen = parser.parse_args(arguments)
    start_host("--cpu")
    load_pack()
    silence_progress_bars()
    loaded = load_icon_model()
    made = variants()
    with torch.inference_mode():
        for number in range(chosen.sets):
            for variant in made:
                measure(variant, draw_set(loaded, variant, number))
            print(f"  set {number + 1} of {chosen.sets}", file=sys.stderr, flush=True)
    report(made)
    return 0


def silence_progress_bars() -> None:
    import comfy.utils

    comfy.utils.set_progress_bar_enabled(False)


def load_icon_model() -> Loaded:
    from comfy.sd import load_checkpoint_guess_config

    from toy.model import register

    register()
    return Loaded(*load_checkpoint_guess_config(str(TOY_CHECKPOINT))[:3])


def draw_set(loaded: Loaded, variant: Variant, number: int) -> Tensor:
    """The pictures of set `number`, the reference first: (1 + targets, height, width, 3)."""
    from style_aligned.nodes.prompts import StyleAlignedPrompts

    from nodes import common_ksampler  # the host's
    from toy import icons

    rng = np.random.default_rng(number)
    shapes = [str(shape) for shape in rng.permutation(SOLID_SHAPES)[: 1 + TARGETS]]
    picture = icons.draw(rng, shapes[0], icons.random_style(rng))
    positive = StyleAlignedPrompts.execute(loaded.clip, "\n".join(shapes), "").result[0]
    negative = loaded.clip.encode_from_tokens_scheduled(loaded.clip.tokenize(""))
    model = shared(loaded.model, variant.sharing)
    if variant.from_picture:
        reference = {"samples": loaded.vae.encode(torch.from_numpy(picture).float()[None] / 255)}
        model, latent = with_reference(model, loaded, reference, shapes[0], variant.inverted)
    else:
        latent = {"samples": torch.zeros(1 + TARGETS, 3, icons.SIZE, icons.SIZE)}
    sample = partial(common_ksampler, model, number, STEPS, CFG, *SAMPLER, positive, negative)
    return loaded.vae.decode(sample(latent)[0]["samples"]).float().clamp(0, 1)


def shared(model: Any, sharing: dict[str, Any] | None) -> Any:
    from style_aligned.nodes.share_attention import StyleAlignedShareAttention

    if sharing is None:
        return model
    defaults = {
        "scale": 1.0, "shift": 0.0, "share_group_norm": False, "adain_queries": True, "adain_keys": True,
        "adain_values": False, "start_percent": 0.0, "end_percent": 1.0, "blocks": "",
    }  # fmt: skip
    return StyleAlignedShareAttention.execute(model, **{**defaults, **sharing}).result[0]


def with_reference(
    model: Any, loaded: Loaded, reference: dict[str, Tensor], shape: str, inverted: bool
) -> tuple[Any, dict[str, Any]]:
    from style_aligned.nodes.invert import StyleAlignedInvert
    from style_aligned.nodes.reference_latent import StyleAlignedReferenceLatent

    trajectory = None
    if inverted:
        positive, negative = (
            loaded.clip.encode_from_tokens_scheduled(loaded.clip.tokenize(text)) for text in (shape, "")
        )
        trajectory = StyleAlignedInvert.execute(
            loaded.model, positive, reference, INVERSION_STEPS, INVERSION_CFG, negative
        ).result[0]
    model, latent = StyleAlignedReferenceLatent.execute(model, reference, TARGETS, "noise", trajectory).result
    return model, latent


def measure(variant: Variant, pictures: Tensor) -> None:
    colours: list[tuple[list[float], Callable[[Tensor], Tensor]]] = [(variant.backdrop, frame), (variant.fill, core)]
    for distances, region in colours:
        reference, *targets = (region(picture).mean(0) for picture in pictures)
        distances += [float((target - reference).norm()) for target in targets]


def frame(picture: Tensor) -> Tensor:
    """The pixels at the border: (pixels, 3)."""
    inner = torch.zeros(picture.shape[:2], dtype=torch.bool)
    inner[FRAME:-FRAME, FRAME:-FRAME] = True
    return picture[~inner]


def core(picture: Tensor) -> Tensor:
    """The pixels at the centre: (pixels, 3)."""
    middle = picture.shape[0] // 2
    return picture[middle - CORE : middle + CORE, middle - CORE : middle + CORE].reshape(-1, 3)


def report(made: list[Variant]) -> None:
    """A Markdown table of mean distances with their standard errors."""
    print("| set | backdrop | fill |\n|---|---|---|")
    for variant in made:
        cells = (f"{np.mean(values):.3f} ± {standard_error(values):.3f}" for values in (variant.backdrop, variant.fill))
        print(f"| {variant.name} | {' | '.join(cells)} |")


def standard_error(values: list[float]) -> float:
    """Of the mean over sets: the targets of one set are not independent."""
    sets = np.reshape(values, (-1, TARGETS)).mean(1)
    return float(sets.std(ddof=1) / math.sqrt(len(sets))) if len(sets) > 1 else math.nan


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
