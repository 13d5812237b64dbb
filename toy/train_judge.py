"""Train the judge on procedural icons, and tell how often it is right on others.

    COMFYUI_PATH=path/to/ComfyUI python -m toy.train_judge [--steps 3000] [--start-from FILE] [--out FILE]

Needs no host and no GPU: a quarter of an hour on two CPU cores.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from . import icons
from .judge import CHECKPOINT, HEADS, Judge, load, oklab, palette_distances
from .precision import half_precision

HELD_OUT_SEED = 1_000_000_007  # no step of training has it
GRAIN = 0.04  # the most noise, of 0..1, that is laid over icons in training: a model's pictures are never quite flat
PALETTE_WEIGHT = 20.0  # brings the palettes' small squared errors to the scale of the labels' loss


def pictures_of(data: icons.Dataset) -> Tensor:
    """(rows, SIZE, SIZE, 3), 0..1."""
    return torch.from_numpy(data.images).float() / 255


def loss(judge: Judge, pictures: Tensor, labels: Tensor, palettes: Tensor) -> Tensor:
    """Cross entropy of every head and the squared error of the palettes, their fill colours in either order."""
    with half_precision():
        logits, read = judge(pictures.permute(0, 3, 1, 2))
    errors = [(read.float() - expected).square().sum((-1, -2)) for expected in (palettes, palettes[:, [0, 2, 1]])]
    said = [nn.functional.cross_entropy(each.float(), labels[:, head]) for head, each in enumerate(logits)]
    return torch.stack(said).sum() + PALETTE_WEIGHT * torch.minimum(*errors).mean()


def train(judge: Judge, steps: int, batch: int, peak: float, seed: int) -> None:
    optimizer = torch.optim.AdamW(judge.parameters(), weight_decay=0.01)
    bar = tqdm(range(steps), unit="step", mininterval=5)
    for step in bar:
        data = icons.dataset(batch, seed=(seed, step))
        pictures = pictures_of(data)
        grain = torch.randn_like(pictures) * torch.rand(batch, 1, 1, 1) * GRAIN
        found = loss(judge, pictures + grain, torch.from_numpy(data.labels), oklab(torch.from_numpy(data.palettes)))
        for group in optimizer.param_groups:
            group["lr"] = peak * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        optimizer.zero_grad()
        found.backward()
        optimizer.step()
        if step % 50 == 0:
            bar.set_postfix(loss=f"{found.item():.4f}", refresh=False)


def report(judge: Judge, count: int = 4000) -> str:
    """Accuracy on icons that training never drew, head by head, and the palettes' error."""
    data = icons.dataset(count, seed=HELD_OUT_SEED)
    labels, palettes = judge.read(pictures_of(data))
    right = (labels.numpy() == data.labels).mean(0)
    said = [f"{name} {share:.2%}" for name, share in zip(HEADS, np.atleast_1d(right), strict=True)]
    error = palette_distances(palettes, oklab(torch.from_numpy(data.palettes))).mean()
    return f"right on {count} held-out icons: {', '.join(said)}; palette error {error:.4f} (OKLab)"


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the judge of icons.")
    parser.add_argument("--steps", type=int, default=3000, help="default: %(default)s")
    parser.add_argument("--batch", type=int, default=64, help="icons a step (default: %(default)s)")
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
