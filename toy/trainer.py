"""One model in training: its weights, their running average, and what a step is.

All that is random in a step follows from the seed and the step's number, so a run that was stopped goes on as if it had
not been.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from . import icons, sampling
from .architecture import LATENT_SCALE
from .networks import NETWORKS, Network, load
from .teacher import Teacher

PIXEL_SPACE_VAE = "first_stage_model.pixel_space_vae"  # a key by which the host picks that VAE

EMPTY_PROMPTS = 0.1  # the share of captions left out, for classifier-free guidance
SETTLED = 0.9  # the signal's share of the power from which on it is clear what a picture shows
OWN_STATES = 0.5  # the share of settled inputs to which the model itself has come
FARTHEST, STRIDE = 150, 33  # timesteps: from how far above at most, and how much of that in a step
GRAIN_WEIGHT = 4.0  # of errors that show as grain
FLAT = 0.02  # neighbours that differ by less, of a picture's range of 1, lie on one flat area
SHEET_ROWS, SHEET_SCALE, SHEET_STEPS = 4, 4, 30


class Batch(NamedTuple):
    """What is random about a step."""

    clean: Tensor  # (rows, 3, SIZE, SIZE), icons
    tokens: Tensor  # (rows, CONTEXT_LENGTH), some captions left out
    timesteps: Tensor  # (rows,)
    noise: Tensor  # as clean
    above: Tensor  # (rows,), from how many timesteps above its own the model itself brings an input, see `inputs`


class Trainer:
    """Of one of NETWORKS; until step `taught`, the icon UNet says at middle noise levels what is to be learnt.

    workers: threads that share a batch. On a CPU with others' programs on it they beat threads that share each
    operation, which wait for the slowest a thousand times a step.
    """

    def __init__(
        self, seed: int, device: torch.device | str = "cpu", network: str = "unet", taught: int = 0, workers: int = 1
    ) -> None:
        torch.manual_seed(seed)
        self.seed, self.device, self.taught, self.workers = seed, torch.device(device), taught, workers
        self.pool = ThreadPoolExecutor(workers)
        self.network: Network = NETWORKS[network](device)
        self.names, self.weights = list(self.network.learnt), list(self.network.learnt.values())
        self.average = [weight.detach().clone() for weight in self.weights]
        self.optimizers = self.network.optimizers()
        self.process, self.predict = self.network.process, self.network.predict
        self.teacher = Teacher(self.process, device) if taught else None
        self.step = 0

    def batch(self, rows: int) -> Batch:
        """This step's."""
        data = icons.dataset(rows, (self.seed, self.step), self.network.shapes)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.step)
        clean = (torch.from_numpy(data.images).permute(0, 3, 1, 2).float() / 127.5 - 1) * LATENT_SCALE
        left_out = torch.rand(rows, 1, generator=generator) < EMPTY_PROMPTS
        tokens = torch.where(left_out, torch.tensor(icons.token_ids([])), torch.from_numpy(data.tokens))
        timesteps = self.network.draw_timesteps(rows, generator)
        own = torch.rand(rows, generator=generator) < OWN_STATES
        above = torch.randint(1, FARTHEST + 1, (rows,), generator=generator)
        noise = torch.randn(clean.shape, generator=generator)
        clean, tokens, timesteps, noise, own, above = (
            part.to(self.device) for part in (clean, tokens, timesteps, noise, own, above)
        )
        settled = self.process.power()[timesteps] > SETTLED
        return Batch(clean, tokens, timesteps, noise, above * (own & settled))

    def inputs(self, clean: Tensor, tokens: Tensor, timesteps: Tensor, noise: Tensor, above: Tensor) -> Tensor:
        """Noised icons at `timesteps`, some of them noised `above` that and brought down by the model.

        In a sampler a model sees what it has left of the noise before. Trained on fresh noise alone it takes that for
        the picture's own, and grain stays to the end (scheduled sampling; Deng et al. 2023, arXiv 2210.05147). Not at
        higher levels: there an input that the model made does not yet say which picture it came from.
        """
        level = timesteps + above
        noised = self.process.noised(clean, noise, level)
        while len(rows := (level > timesteps).nonzero().squeeze(1)):
            with torch.no_grad():
                velocity = self.predict(noised[rows], level[rows], tokens[rows])
            below = timesteps[rows].maximum(level[rows] - STRIDE)
            noised = noised.index_copy(0, rows, self.process.step(noised[rows], velocity, level[rows], below))
            level = level.index_copy(0, rows, below)
        return noised

    def loss(self, clean: Tensor, tokens: Tensor, timesteps: Tensor, noise: Tensor, above: Tensor) -> Tensor:
        """Mean squared error of the predicted v, and more for grain; the shapes are those of `batch`.

        An error of a hundredth is nothing beside those at edges, but on a flat area eyes see it: where the picture is
        flat, the differences of neighbours' errors count too. Not so at higher noise levels, where an outline may
        or may not be: weighted by what turned out to be flat, the best guess would be that there is none.
        """
        noised = self.inputs(clean, tokens, timesteps, noise, above)
        wanted = clean
        if self.teacher and self.step < self.taught:
            wanted = self.teacher.correct(clean, noised, timesteps, tokens)
        velocity = self.process.velocity(wanted, self.process.noise_in(noised, wanted, timesteps), timesteps)
        error = (self.predict(noised, timesteps, tokens) - velocity) * _rows(self.network.importance[timesteps].sqrt())
        settled = _rows(self.process.power()[timesteps] > SETTLED)
        grain = [settled * _flat(clean, axis) * error.diff(dim=axis).square() for axis in (-2, -1)]
        return error.square().mean() + GRAIN_WEIGHT * sum(each.mean() for each in grain)

    def train_step(self, batch: Batch, learning_rate: float) -> float:
        """Learn from a batch, which the workers share among them; its loss."""
        shares = [Batch(*(part[worker :: self.workers] for part in batch)) for worker in range(self.workers)]
        found = list(self.pool.map(self._gradients, shares))
        for weight, *gradients in zip(self.weights, *(each for _, each in found), strict=True):
            weight.grad = torch.stack(gradients).mean(0)
        nn.utils.clip_grad_norm_(self.weights, 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
            optimizer.step()
        kept = min(0.999, (1 + self.step) / (10 + self.step))  # the first average must not remember fresh weights
        torch._foreach_mul_(self.average, kept)
        torch._foreach_add_(self.average, [weight.detach() for weight in self.weights], alpha=1 - kept)
        self.step += 1
        return sum(loss for loss, _ in found) / self.workers

    def _gradients(self, batch: Batch) -> tuple[float, tuple[Tensor, ...]]:
        loss = self.loss(*batch)
        return loss.item(), torch.autograd.grad(loss, self.weights)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """With the running average in place of the weights."""
        kept = [weight.detach().clone() for weight in self.weights]
        _set(self.weights, self.average)
        try:
            yield
        finally:
            _set(self.weights, kept)

    def sheet(self) -> Image.Image:
        """Every shape of the vocabulary in styles of the model's own, a new one in each row."""
        captions = [[shape] for _ in range(SHEET_ROWS) for shape in icons.SHAPES]
        tokens = torch.tensor([icons.token_ids(caption) for caption in captions], device=self.device)
        noise = torch.randn(len(tokens), 3, icons.SIZE, icons.SIZE, generator=torch.Generator().manual_seed(self.seed))
        nothing = torch.tensor([icons.token_ids([])], device=self.device).expand_as(tokens)
        with self.averaged(), torch.no_grad():
            latents = sampling.sample(self.predict, self.process, noise.to(self.device), tokens, nothing, SHEET_STEPS)
        pictures = (latents / LATENT_SCALE + 1).clamp(0, 2) * 127.5
        grid = pictures.unflatten(0, (SHEET_ROWS, -1)).permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
        sheet = Image.fromarray(grid.byte().cpu().numpy())
        return sheet.resize((sheet.width * SHEET_SCALE, sheet.height * SHEET_SCALE), Image.Resampling.NEAREST)

    def export(self, path: Path) -> None:
        """A checkpoint for the host."""
        weights = dict(zip(self.names, self.average, strict=True)) | self.network.fixed
        state = {name: weight.half().cpu().contiguous() for name, weight in weights.items()}
        with _replacing(path) as unfinished:
            save_file({**state, PIXEL_SPACE_VAE: torch.tensor(1.0)}, unfinished)

    def start_from(self, path: Path) -> None:
        """Take the weights of an exported checkpoint."""
        load(self.network, path)
        _set(self.average, self.weights)

    def save(self, path: Path) -> None:
        state = {
            "average": self.average,
            "weights": [weight.detach() for weight in self.weights],
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "seed": self.seed,
        }
        with _replacing(path) as unfinished:
            torch.save(state, unfinished)

    def load(self, path: Path) -> None:
        """Go on where `save` was called; raises ValueError if that was with another seed."""
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location=self.device)
        if state["seed"] != self.seed:
            raise ValueError(f"{path} was begun with seed {state['seed']}, not {self.seed}; use that or another --out")
        self.step = state["step"]
        _set(self.average, state["average"])
        _set(self.weights, state["weights"])
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)


def _flat(pictures: Tensor, axis: int) -> Tensor:
    """Where neighbours along an axis have one colour: `(rows, 1, height, width)`, one less along the axis."""
    return pictures.diff(dim=axis).abs().amax(1, keepdim=True) < FLAT


def _rows(values: Tensor) -> Tensor:
    """(rows,) for use with pictures."""
    return values.view(-1, 1, 1, 1)


def _set(weights: list[Tensor], values: list[Tensor]) -> None:
    with torch.no_grad():
        for weight, value in zip(weights, values, strict=True):
            weight.copy_(value)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A file to write beside `path`, which takes its place when it is complete."""
    unfinished = path.with_name(path.name + ".unfinished")
    yield unfinished
    os.replace(unfinished, path)
