"""Train the icon model's ControlNet: the same icons, and the edges of their shapes as hints.

    COMFYUI_PATH=path/to/ComfyUI python -m toy.train_control [--steps 500] [--out DIR]

The icon model itself stays as it is. All that is random in a step follows from the seed and its number, and the same
command goes on where a run was stopped.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from . import icons
from .architecture import LATENT_SCALE
from .control import Control
from .networks import UNET_CHECKPOINT, IconUNet, load
from .sampling import TIMESTEPS
from .train import OUT, learning_rate

CANNY = 0.4, 0.8  # the low and the high threshold, which are the host's
EMPTY_PROMPTS = 0.3  # more often than the icon model's, so that a shape is looked for in the hint
SAVE_EVERY = 100  # steps


class Batch(NamedTuple):
    """What is random about a step."""

    clean: Tensor  # (rows, 3, SIZE, SIZE), icons
    hint: Tensor  # (rows, 1, SIZE, SIZE)
    tokens: Tensor  # (rows, CONTEXT_LENGTH), some captions left out
    timesteps: Tensor  # (rows,)
    noise: Tensor  # as clean


def edges(coverage: Tensor) -> Tensor:
    """What the host's Canny node finds in pictures of shapes, white on black: `(rows, 1, height, width)`."""
    from comfy_extras.nodes_canny import Canny

    pictures = coverage.unsqueeze(-1).expand(-1, -1, -1, 3)
    return Canny.execute(pictures, *CANNY).result[0].movedim(-1, 1)[:, :1]


def batch(rows: int, seed: int, step: int) -> Batch:
    rng = np.random.default_rng((seed, step))
    pictures, coverages, tokens = [], [], []
    for _ in range(rows):
        shape, style = icons.SHAPES[int(rng.integers(len(icons.SHAPES)))], icons.random_style(rng)
        coverages.append(icons.place(rng, shape))
        pictures.append(icons.paint(coverages[-1], style))
        said = icons.random_caption(rng, shape, style)
        tokens.append(icons.token_ids(said if rng.random() >= EMPTY_PROMPTS else []))
    clean = (torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1) * LATENT_SCALE
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    return Batch(
        clean,
        edges(torch.from_numpy(np.stack(coverages))),
        torch.tensor(tokens),
        torch.randint(TIMESTEPS, (rows,), generator=generator),
        torch.randn(clean.shape, generator=generator),
    )


class Trainer:
    """The ControlNet, its optimizer, and the icon model that it steers."""

    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)
        self.seed, self.step = seed, 0
        self.control, self.icon_model = Control(), IconUNet()
        load(self.icon_model, UNET_CHECKPOINT)
        self.icon_model.unet.requires_grad_(False)
        self.icon_model.text_encoder.requires_grad_(False)
        self.optimizer = torch.optim.AdamW(self.control.parameters(), weight_decay=0.01, betas=(0.9, 0.99))

    def loss(self, batch: Batch) -> Tensor:
        """Mean squared error of the predicted velocity."""
        process = self.icon_model.process
        predicted: Tensor = self.icon_model.unet(
            process.noised(batch.clean, batch.noise, batch.timesteps),
            batch.timesteps.float(),
            context=self.icon_model.text_encoder(batch.tokens),
            control=self.control(batch.hint),
            transformer_options={},
        )
        return (predicted - process.velocity(batch.clean, batch.noise, batch.timesteps)).square().mean()

    def train_step(self, batch: Batch, learning_rate: float) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        loss = self.loss(batch)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.control.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        return loss.item()

    def export(self, path: Path) -> None:
        save_file({name: each.half().contiguous() for name, each in self.control.state_dict().items()}, path)

    def save(self, path: Path) -> None:
        unfinished = path.with_name(path.name + ".unfinished")
        state = {"control": self.control.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step}
        torch.save(state, unfinished)
        os.replace(unfinished, path)

    def load(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        self.control.load_state_dict(state["control"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]


def main() -> int:
    parser = argparse.ArgumentParser(description="Train the icon model's ControlNet, or go on training it.")
    parser.add_argument("--steps", type=int, default=500, help="in all, over every run (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=16, help="icons a step (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=2e-3, help="peak learning rate (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--out", type=Path, metavar="DIR", default=OUT, help="default: output/train")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    trainer, state = Trainer(options.seed), options.out / "control.state.pt"
    if state.exists():
        trainer.load(state)
    with tqdm(total=options.steps, initial=trainer.step, unit="step", mininterval=5) as bar:
        while trainer.step < options.steps:
            rate = learning_rate(trainer.step, options.steps, options.lr)
            loss = trainer.train_step(batch(options.batch, options.seed, trainer.step), rate)
            bar.update()
            bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
            if trainer.step % SAVE_EVERY == 0 or trainer.step == options.steps:
                trainer.save(state)
                trainer.export(options.out / "control.safetensors")
    return 0


if __name__ == "__main__":
    sys.exit(main())
