"""What the pictures of a set show: labels and palettes as the judge reads them, and features that nobody labelled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from devtools.evaluation.layout import Layout, read_layout
from toy.architecture import LATENT_SCALE
from toy.judge import Judge

FEATURE_BLOCK, FEATURE_LAYER = 3, 1  # of the UNet's output blocks: the last transformer, 16x16 tokens
FEATURE_TIMESTEP = 50  # of 1000: little noise, so that the picture itself is described


class Reading(NamedTuple):
    """Of the pictures of one set, the reference first."""

    labels: NDArray[np.int64]  # (pictures, heads), indices of words in the order of toy.judge.HEADS
    palettes: NDArray[np.float32]  # (pictures, 3, 3), OKLab
    features: NDArray[np.float32]  # (pictures, channels)
    layout: Layout

    def save(self, path: Path) -> None:
        parts = {**self._asdict(), "layout": None, **self.layout._asdict()}
        path.write_text(
            json.dumps({name: np.round(part, 4).tolist() for name, part in parts.items() if part is not None})
        )

    @classmethod
    def load(cls, path: Path) -> Reading:
        parts = {name: _array(part) for name, part in json.loads(path.read_text()).items()}
        layout = Layout(*(parts.pop(name) for name in Layout._fields))
        return cls(**parts, layout=layout)


def _array(part: list[Any]) -> NDArray[Any]:
    array = np.array(part)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def read(judge: Judge, model: Any, context: Tensor, pictures: Tensor) -> Reading:
    """pictures: (rows, height, width, 3) of 0..1; model: the host's icon model, loaded; context: the empty prompt's."""
    found = judge.read(pictures)
    features = diffusion_features(model, context, pictures).numpy()
    return Reading(
        found.labels.numpy(), found.palettes.numpy(), features, read_layout(judge, pictures, found.coverages)
    )


def diffusion_features(model: Any, context: Tensor, pictures: Tensor) -> Tensor:
    """Means and spreads over the positions of one UNet layer's activations (Tang et al. 2023, DIFT): (rows, channels).

    The model learnt them by denoising, without labels; means and spreads tell style rather than layout (Gatys et al.).
    """
    found: list[Tensor] = []
    layer = model.diffusion_model.output_blocks[FEATURE_BLOCK][FEATURE_LAYER]
    hook = layer.register_forward_hook(lambda _module, _inputs, output: found.append(output.float()))
    try:
        clean = (pictures.movedim(-1, 1) * 2 - 1) * LATENT_SCALE
        sigma = model.model_sampling.sigma(torch.tensor(float(FEATURE_TIMESTEP)))
        noise = torch.randn(clean.shape[1:], generator=torch.Generator().manual_seed(0))
        rows = len(pictures)
        model.apply_model(clean + sigma * noise, sigma.expand(rows), c_crossattn=context.expand(rows, -1, -1))
    finally:
        hook.remove()
    activations = found[0].flatten(2)
    return torch.cat([activations.mean(2), activations.std(2)], 1)
