"""Train the judge on procedural icons, whole and broken, and tell how often it is right on others.

    COMFYUI_PATH=path/to/ComfyUI python -m toy.train_judge [--steps 3000] [--start-from FILE] [--out FILE]

Needs no host and no GPU: half an hour on two CPU cores.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from . import broken, icons, pairs
from .judge import CHECKPOINT, HEADS, NONE, Judge, load, oklab, palette_distances
from .precision import half_precision

HELD_OUT_SEED = 1_000_000_007  # no step of training has it
SHARE_BROKEN, SHARE_PAIRS = 1 / 3, 1 / 8  # of a batch
SHARE_SCUFFED = 1 / 4  # of the whole icons, which have to be known all the same
SHARE_WORN = 1 / 2  # of the whole icons too
GRAIN = 0.04  # the most noise, of 0..1, that is laid over icons in training: a model's pictures are never quite flat
SOFTNESS = 0.6  # the most of a blur over three pixels, as models' edges have it
PALETTE_WEIGHT = 20.0  # brings the palettes' small squared errors to the scale of the labels' loss
UNKNOWN = -100  # a label that is not asked for, as torch's cross entropy has it


class Examples(NamedTuple):
    pictures: Tensor  # (rows, SIZE, SIZE, 3), 0..1
    labels: Tensor  # (rows, heads), UNKNOWN where the picture shows none of the answers
    palettes: Tensor  # (rows, 3, 3), OKLab; not a number where nothing shows them
    coverages: Tensor  # (rows, SIZE, SIZE), 0..1; not a number where nobody can tell


def whole(data: icons.Dataset) -> Examples:
    """Icons as they are."""
    palettes = oklab(torch.from_numpy(data.palettes))
    return Examples(pictures_of(data.images), torch.from_numpy(data.labels), palettes, torch.from_numpy(data.coverages))


def in_pieces(data: broken.Broken) -> Examples:
    """Icons that show no shape, and some of them no style."""
    nothing = np.full((3, 3), np.nan, np.float32)
    palettes = np.stack([style.palette if style else nothing for style in data.styles])
    shape = HEADS["shape"].index(NONE)
    labels = [[shape, *(_labels(style) if style else [UNKNOWN] * (len(HEADS) - 1))] for style in data.styles]
    coverages = torch.from_numpy(data.coverages)
    return Examples(pictures_of(data.images), torch.tensor(labels), oklab(torch.from_numpy(palettes)), coverages)


def in_pairs(data: Sequence[pairs.Pair]) -> Examples:
    """Icons of two shapes: nobody asks which of them is the picture's."""
    return Examples(
        pictures_of(np.stack([each.picture for each in data])),
        torch.tensor([[UNKNOWN, *_labels(each.style)] for each in data]),
        oklab(torch.from_numpy(np.stack([each.style.palette for each in data]))),
        torch.from_numpy(np.stack([each.coverage for each in data])),
    )


def _labels(style: icons.Style) -> list[int]:
    """Of all heads but the shape's."""
    return [style.pattern, style.outline, style.backdrop, style.tone]


def batch_of(count: int, seed: Sequence[int]) -> Examples:
    """What a step learns from: icons whole, worn, scuffed, broken and in pairs, all of them as rough as models draw."""
    pieces, two, rng = round(count * SHARE_BROKEN), round(count * SHARE_PAIRS), np.random.default_rng((*seed, 2))
    data = icons.dataset(count - pieces - two, (*seed, 0), placed=_worn)
    for image in data.images[: round(len(data.images) * SHARE_SCUFFED)]:
        image[...] = broken.scuffed(rng, image)
    others = in_pieces(broken.dataset(pieces, (*seed, 1))), in_pairs([pairs.draw(rng) for _ in range(two)])
    found = Examples(*(torch.cat(parts) for parts in zip(whole(data), *others, strict=True)))
    return found._replace(pictures=roughened(found.pictures))


def _worn(rng: np.random.Generator, shape: str) -> icons.Field:
    coverage = icons.place(rng, shape)
    return broken.worn(rng, coverage) if rng.random() < SHARE_WORN else coverage


def roughened(pictures: Tensor) -> Tensor:
    grain, softness = (torch.rand(len(pictures), 1, 1, 1) * most for most in (GRAIN, SOFTNESS))
    blurred = nn.functional.avg_pool2d(pictures.movedim(-1, 1), 3, 1, 1, count_include_pad=False).movedim(1, -1)
    return pictures.lerp(blurred, softness) + torch.randn_like(pictures) * grain


def pictures_of(images: icons.Picture) -> Tensor:
    """(rows, SIZE, SIZE, 3), 0..1."""
    return torch.from_numpy(images).float() / 255


def loss(judge: Judge, examples: Examples) -> Tensor:
    """Cross entropy of every head and of every pixel, and the squared error of the palettes, fills in either order."""
    with half_precision():
        said = judge(examples.pictures.permute(0, 3, 1, 2))
    total = torch.stack([
        nn.functional.cross_entropy(logits.float(), examples.labels[:, head], ignore_index=UNKNOWN)
        for head, logits in enumerate(said.logits)
    ]).sum()  # fmt: skip
    known = examples.palettes.isfinite().all((1, 2))
    palettes = examples.palettes[known]
    errors = [
        (said.palettes[known].float() - expected).square().sum((-1, -2))
        for expected in (palettes, palettes[:, [0, 2, 1]])
    ]
    total += PALETTE_WEIGHT * torch.minimum(*errors).mean()
    known = examples.coverages.isfinite().all((1, 2))
    return total + nn.functional.binary_cross_entropy_with_logits(
        said.coverage[known].float(), examples.coverages[known]
    )


def train(judge: Judge, steps: int, batch: int, peak: float, seed: int) -> None:
    optimizer = torch.optim.AdamW(judge.parameters(), weight_decay=0.01)
    bar = tqdm(range(steps), unit="step", mininterval=5)
    for step in bar:
        found = loss(judge, batch_of(batch, (seed, step)))
        for group in optimizer.param_groups:
            group["lr"] = peak * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        optimizer.zero_grad()
        found.backward()
        optimizer.step()
        if step % 50 == 0:
            bar.set_postfix(loss=f"{found.item():.4f}", refresh=False)


def report(judge: Judge, count: int = 4000) -> str:
    """On icons that training never drew: accuracy by head, the other errors, and who takes broken icons for a shape."""
    data = icons.dataset(count, seed=HELD_OUT_SEED)
    read = judge.read(pictures_of(data.images))
    right = (read.labels.numpy() == data.labels).mean(0)
    said = [f"{name} {share:.2%}" for name, share in zip(HEADS, np.atleast_1d(right), strict=True)]
    error = palette_distances(read.palettes, oklab(torch.from_numpy(data.palettes))).mean()
    taken = [f"{kind} {share:.1%}" for kind, share in taken_for_shapes(judge, count // 10).items()]
    return (
        f"right on {count} held-out icons: {', '.join(said)}; palette error {error:.4f} (OKLab); coverage "
        f"{covered_alike(read.coverages, torch.from_numpy(data.coverages)):.1%} alike (IoU)\n"
        f"broken icons taken for a shape: {', '.join(taken)}"
    )


def taken_for_shapes(judge: Judge, count: int) -> dict[str, float]:
    """Of `count` held-out broken icons of each kind, the share that are said to show a shape."""
    none, found = HEADS["shape"].index(NONE), {}
    for kind in broken.KINDS:
        pictures = pictures_of(broken.dataset(count, HELD_OUT_SEED, [kind]).images)
        found[kind] = float((judge.read(pictures).labels[:, 0] != none).float().mean())
    return found


def covered_alike(found: Tensor, expected: Tensor) -> float:
    """Intersection over union of what is covered by more than half, the mean over pictures."""
    one, other = found > 0.5, expected > 0.5
    return float(((one & other).sum((1, 2)) / (one | other).sum((1, 2)).clamp(min=1)).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the judge of icons.")
    parser.add_argument("--steps", type=int, default=3000, help="default: %(default)s")
    parser.add_argument("--batch", type=int, default=96, help="icons a step (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=2e-3, help="peak learning rate (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--start-from", type=Path, metavar="FILE", help="begin with the weights of this checkpoint")
    parser.add_argument("--out", type=Path, default=CHECKPOINT, help="default: beside the icon model")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    judge = load(options.start_from).requires_grad_(True) if options.start_from else Judge()
    train(judge, options.steps, options.batch, options.lr, options.seed)
    print(report(judge.requires_grad_(False).eval()))
    save_file({name: weight.half().contiguous() for name, weight in judge.state_dict().items()}, options.out)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
