"""How well an inverted icon comes back: python -m devtools.measuring.inversion_error prints a table.

Icons are inverted with the icon model and their own words, then sampled from the noise that this found: Euler's method
on the same noise levels, the same prompt and guidance. The error is that of the latent, ||sampled - icon|| / ||icon||.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from devtools.comfyui.icon_model import load_icon_model
from devtools.comfyui.inprocess import load_pack, start_host
from toy import icons

STEPS = (10, 25, 50, 100)
GUIDANCE = (1.0, 2.0)


class Icon(NamedTuple):
    """An icon as the host's nodes would give it. latent: (1, 3, 32, 32); prompt and empty: CONDITIONING."""

    latent: Tensor
    prompt: list[list[Any]]
    empty: list[list[Any]]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m devtools.measuring.inversion_error", description=__doc__)
    parser.add_argument("--icons", type=int, default=4, help="icons to invert (default %(default)s)")
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    parser.add_argument("--cfg", type=float, nargs="+", default=GUIDANCE)
    chosen = parser.parse_args(arguments)
    start_host("--cpu")
    load_pack()
    logging.disable(logging.INFO)
    torch.set_num_threads(1)
    with torch.inference_mode():
        model, drawn = load_icons(chosen.icons)
        print(f"Relative error of {chosen.icons} reconstructed icons: mean (worst)\n")
        print("| steps | " + " | ".join(f"CFG {cfg:g}" for cfg in chosen.cfg) + " |")
        print("|---|" + "---|" * len(chosen.cfg))
        for steps in chosen.steps:
            cells = [summary(error(model, icon, steps, cfg) for icon in drawn) for cfg in chosen.cfg]
            print(f"| {steps} | " + " | ".join(cells) + " |", flush=True)
    return 0


def summary(errors: Iterable[float]) -> str:
    values = list(errors)
    return f"{np.mean(values):.3f} ({max(values):.3f})"


def load_icons(count: int) -> tuple[Any, list[Icon]]:
    """The icon model as the host's loader returns it, and the first icons of a fixed random set."""
    loaded = load_icon_model()
    rng, empty, drawn = np.random.default_rng(11), loaded.encode(""), []
    for shape in icons.SHAPES[:count]:
        style = icons.random_style(rng)
        picture = torch.from_numpy(icons.draw(rng, shape, style)).float()[None] / 255
        drawn.append(Icon(loaded.vae.encode(picture), loaded.encode(" ".join([shape, *style.words])), empty))
    return loaded.model, drawn


def error(model: Any, icon: Icon, steps: int, cfg: float) -> float:
    """The relative error of the reconstructed latent."""
    from style_aligned.shared_attention.host.inversion import invert

    trajectory = invert(model, icon.prompt, icon.empty, {"samples": icon.latent}, steps, cfg, disable_pbar=True)
    sampled = sample_from_noise(model, icon.prompt, icon.empty, trajectory, cfg)
    return float((sampled - icon.latent).norm() / icon.latent.norm())


def sample_from_noise(model: Any, positive: Any, negative: Any, trajectory: Any, cfg: float) -> Tensor:
    """What the host's Euler sampler makes of a trajectory's noisiest latent on the way back: a LATENT's samples."""
    import comfy.sample
    import comfy.samplers

    top, sigmas = trajectory.latents[-1:], trajectory.sigmas.flip(0)
    # The host scales the noise that it is given to the first noise level, and adds no empty latent at the highest.
    scaling = model.get_model_object("model_sampling").noise_scaling
    unit = scaling(sigmas[:1], torch.ones(1, 1, 1, 1), torch.zeros(()), True)
    euler = comfy.samplers.ksampler("euler")
    return comfy.sample.sample_custom(
        model, top / unit, cfg, euler, sigmas, positive, negative, torch.zeros_like(top), disable_pbar=True, seed=0
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
