"""Reads an icon: which shape it shows and in which style, so that a set's consistency can be counted, not guessed.

A small convolutional network, trained by `toy.train_judge` on the procedural icons alone, whole and broken ones. It has
never seen a picture of the icon models', and its answers are checked on icons that it was not trained on.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from . import icons

CHECKPOINT = Path(__file__).with_name("judge.safetensors")
NONE = "none"  # of the shapes: what is left of a picture that broke up
SURE = 0.75  # of a logit, which NONE has to be ahead by, or fewer than 99.7% of whole icons are known
HEADS = {
    "shape": [*icons.SHAPES, NONE],  # the first head, and its last answer
    "pattern": icons.PATTERNS,
    "outline": icons.OUTLINES,
    "backdrop": icons.BACKDROPS,
    "tone": icons.TONES,
}
"""What can be asked, in the order of a data set's labels, with the words of each answer."""

COLOURS = 3  # background, fill and second colour
CONVOLUTIONS = ((32, 1), (48, 2), (64, 1), (96, 2), (96, 1), (128, 2))  # channels out, stride
SIDE = 4  # of the grid that the strides leave
LAYERS = 3  # of `body` for each convolution: itself, its norm and what follows
HALF, QUARTER = 3, 5  # so many convolutions leave a grid of half of the picture's side, and of a quarter
COVERAGE = 32  # channels
FEATURES = 256


class Reading(NamedTuple):
    labels: Tensor  # (rows, heads): indices of words, in the order of HEADS
    palettes: Tensor  # (rows, COLOURS, 3) in OKLab; the two fill colours in no particular order
    coverages: Tensor  # (rows, SIZE, SIZE), 0..1: where the shape is, or what is left of it


class Answers(NamedTuple):
    logits: list[Tensor]  # of each head
    palettes: Tensor  # as a Reading's
    coverage: Tensor  # (rows, SIZE, SIZE), logits


class Judge(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for width, stride in CONVOLUTIONS:
            layers += [nn.Conv2d(before, width, 3, stride, padding=1), nn.GroupNorm(8, width), nn.SiLU()]
            before = width
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * SIDE**2, FEATURES), nn.SiLU())
        self.heads = nn.ModuleDict({name: nn.Linear(FEATURES, len(words)) for name, words in HEADS.items()})
        self.palette = nn.Linear(FEATURES, COLOURS * 3)
        of_grids = CONVOLUTIONS[HALF - 1][0] + CONVOLUTIONS[QUARTER - 1][0]
        self.coverage = nn.Sequential(
            nn.Conv2d(of_grids, COVERAGE, 3, padding=1), nn.SiLU(), nn.Conv2d(COVERAGE, 4, 1), nn.PixelShuffle(2)
        )

    def forward(self, pictures: Tensor) -> Answers:
        """Pictures: `(rows, 3, SIZE, SIZE)`, 0..1."""
        half = self.body[: LAYERS * HALF](pictures * 2 - 1)
        quarter = self.body[LAYERS * HALF : LAYERS * QUARTER](half)
        features = self.body[LAYERS * QUARTER :](quarter)
        grids = torch.cat([half, nn.functional.interpolate(quarter, scale_factor=2.0)], 1)
        return Answers(
            [head(features) for head in self.heads.values()],
            self.palette(features).unflatten(1, (COLOURS, 3)),
            self.coverage(grids)[:, 0],
        )

    def read(self, pictures: Tensor, at_once: int = 500) -> Reading:
        """What pictures `(rows, SIZE, SIZE, 3)` of 0..1 show."""
        found = []
        with torch.inference_mode():
            for part in pictures.permute(0, 3, 1, 2).split(at_once):
                said = self(part)
                said.logits[0][:, -1] -= SURE
                labels = torch.stack([each.argmax(1) for each in said.logits], 1)
                found.append(Reading(labels, said.palettes, said.coverage.sigmoid()))
        return Reading(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def load(path: Path = CHECKPOINT) -> Judge:
    judge = Judge()
    judge.load_state_dict({name: weight.float() for name, weight in load_file(path).items()})
    return judge.requires_grad_(False).eval()


def oklab(rgb: Tensor) -> Tensor:
    """sRGB colours `(.., 3)` of 0..1 in OKLab (Ottosson 2020): distances in it are about those that eyes see."""
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    cones = linear @ rgb.new_tensor(_TO_CONES).T
    return cones.clamp(min=0) ** (1 / 3) @ rgb.new_tensor(_TO_LAB).T


_TO_CONES = [
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
]
_TO_LAB = [
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
]


def palette_distances(first: Tensor, second: Tensor) -> Tensor:
    """Mean distance of two palettes' colours `(.., COLOURS, 3)` in OKLab: `(..)`.

    Backgrounds are compared with each other, fill colours in the order that fits better: which of a pattern's two
    colours comes first has no meaning.
    """
    swapped = second[..., [0, 2, 1], :]
    return torch.minimum((first - second).norm(dim=-1).mean(-1), (first - swapped).norm(dim=-1).mean(-1))
