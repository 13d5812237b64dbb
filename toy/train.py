"""Train the icon model: the host's UNet and a small text encoder, v-prediction on Stable Diffusion's noise schedule.

Runs in the host's Python, on a GPU if there is one; `python dev.py train` starts it. Every batch is drawn anew, and all
that is random in a step follows from the seed and the step's number, so a run that was stopped goes on as if it had not
been. In the output folder are `icons.safetensors`, the running average of the weights in half precision under the names
that the host's checkpoint loader expects, `icons.state.pt`, from which the same command goes on, and sample sheets.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from . import icons, sampling
from .architecture import LATENT_SCALE, UNET
from .precision import half_precision
from .text_encoder import TextEncoder

OUT = Path(__file__).resolve().parent.parent / "output" / "train"
CHECKPOINT, STATE = "icons.safetensors", "icons.state.pt"
UNET_PREFIX, TEXT_PREFIX = "model.diffusion_model.", "cond_stage_model.transformer.text_model."
PIXEL_SPACE_VAE = "first_stage_model.pixel_space_vae"  # a key by which the host picks that VAE

EMPTY_PROMPTS = 0.1  # the share of captions left out, for classifier-free guidance
LOWER_LEVELS = 1.5  # the power of a uniform draw that picks the noise level: details settle at the lower ones
SETTLED = 0.9  # the signal's share of the power from which on it is clear what a picture shows
OWN_STATES = 0.5  # the share of settled inputs to which the model itself has come
FARTHEST, STRIDE = 150, 33  # timesteps: from how far above at most, and how much of that in a step
GRAIN_WEIGHT = 4.0  # of errors that show as grain
FLAT = 0.02  # neighbours that differ by less, of a picture's range of 1, lie on one flat area
WARM_UP = 200  # steps
DECAY = 0.4  # the share of the steps, at the end, in which the learning rate falls to nothing
REPORT_EVERY, SAVE_EVERY = 20, 100  # steps
SHEET_ROWS, SHEET_SCALE, SHEET_STEPS = 4, 4, 30


def host_unet() -> nn.Module:
    """The host's UNet with fresh weights."""
    sys.path.insert(0, os.environ["COMFYUI_PATH"])
    from comfy.cli_args import args

    args.cpu = not torch.cuda.is_available()  # these are read when the modules below are imported
    args.use_pytorch_cross_attention = True
    import comfy.ops
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    unet = UNetModel(**UNET, dtype=torch.float32, device="cpu", operations=comfy.ops.disable_weight_init)
    for module in unet.modules():  # the host expects to load weights, so its layers skip their initialisation
        for kind in (nn.Linear, nn.Conv2d, nn.GroupNorm, nn.LayerNorm):
            if isinstance(module, kind):
                kind.reset_parameters(module)
    return unet


class Trainer:
    """The weights, their running average and the optimizer."""

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        torch.manual_seed(seed)
        self.seed, self.device = seed, torch.device(device)
        self.unet, self.text_encoder = host_unet().to(device), TextEncoder().to(device)
        named = {UNET_PREFIX + name: weight for name, weight in self.unet.named_parameters()}
        named |= {TEXT_PREFIX + name: weight for name, weight in self.text_encoder.named_parameters()}
        self.names, self.weights = list(named), list(named.values())
        self.average = [weight.detach().clone() for weight in self.weights]
        self.optimizer = torch.optim.AdamW(self.weights, weight_decay=0.01, betas=(0.9, 0.99))
        self.signal = sampling.signal_powers().to(device)
        self.step = 0

    def batch(self, rows: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """This step's icons `(rows, 3, SIZE, SIZE)`, tokens, timesteps `(rows,)`, noise, some captions left out.

        The last are `(rows,)`: from how many timesteps above its own the model itself brings an input, see `inputs`.
        """
        data = icons.dataset(rows, seed=(self.seed, self.step))
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.step)
        clean = (torch.from_numpy(data.images).permute(0, 3, 1, 2).float() / 127.5 - 1) * LATENT_SCALE
        left_out = torch.rand(rows, 1, generator=generator) < EMPTY_PROMPTS
        tokens = torch.where(left_out, torch.tensor(icons.token_ids([])), torch.from_numpy(data.tokens))
        timesteps = (torch.rand(rows, generator=generator) ** LOWER_LEVELS * sampling.TIMESTEPS).long()
        own = torch.rand(rows, generator=generator) < OWN_STATES
        above = torch.randint(1, FARTHEST + 1, (rows,), generator=generator)
        noise = torch.randn(clean.shape, generator=generator)
        clean, tokens, timesteps, noise, own, above = (
            part.to(self.device) for part in (clean, tokens, timesteps, noise, own, above)
        )
        return clean, tokens, timesteps, noise, above * (own & (self.signal[timesteps] > SETTLED))

    def inputs(self, clean: Tensor, tokens: Tensor, timesteps: Tensor, noise: Tensor, above: Tensor) -> Tensor:
        """Noised icons at `timesteps`, some of them noised `above` that and brought down by the model.

        In a sampler a model sees what it has left of the noise before. Trained on fresh noise alone it takes that for
        the picture's own, and grain stays to the end (scheduled sampling; Deng et al. 2023, arXiv 2210.05147). Not at
        higher levels: there an input that the model made does not yet say which picture it came from.
        """
        level = timesteps + above
        noised = self.mixed(clean, noise, level)
        while len(rows := (level > timesteps).nonzero().squeeze(1)):
            with torch.no_grad():
                velocity = self.predict(noised[rows], level[rows], tokens[rows])
            below = timesteps[rows].maximum(level[rows] - STRIDE)
            before, after = (self.signal[each].view(-1, 1, 1, 1) for each in (level[rows], below))
            noised = noised.index_copy(0, rows, sampling.ddim_step(noised[rows], velocity, before, after))
            level = level.index_copy(0, rows, below)
        return noised

    def mixed(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        power = self.signal[timesteps].view(-1, 1, 1, 1)
        return power.sqrt() * clean + (1 - power).sqrt() * noise

    def loss(self, clean: Tensor, tokens: Tensor, timesteps: Tensor, noise: Tensor, above: Tensor) -> Tensor:
        """Mean squared error of the predicted v, and more for grain; the shapes are those of `batch`.

        An error of a hundredth is nothing beside those at edges, but on a flat area eyes see it: where the picture is
        flat, the differences of neighbours' errors count too. Not so at higher noise levels, where an outline may
        or may not be: weighted by what turned out to be flat, the best guess would be that there is none.
        """
        noised = self.inputs(clean, tokens, timesteps, noise, above)
        power = self.signal[timesteps].view(-1, 1, 1, 1)
        velocity = (power.sqrt() * noised - clean) / (1 - power).sqrt()
        error = self.predict(noised, timesteps, tokens) - velocity
        grain = [(power > SETTLED) * _flat(clean, axis) * error.diff(dim=axis).square() for axis in (-2, -1)]
        return error.square().mean() + GRAIN_WEIGHT * sum(each.mean() for each in grain)

    def predict(self, noised: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        with half_precision(self.device):
            context = self.text_encoder(tokens)
            velocity: Tensor = self.unet(
                noised, timesteps.float(), context=context, control=None, transformer_options={}
            )
        return velocity.float()

    def update(self, loss: Tensor, learning_rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        kept = min(0.999, (1 + self.step) / (10 + self.step))  # the first average must not remember fresh weights
        torch._foreach_mul_(self.average, kept)
        torch._foreach_add_(self.average, [weight.detach() for weight in self.weights], alpha=1 - kept)
        self.step += 1

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
            latents = sampling.sample(self.predict, noise.to(self.device), tokens, nothing, SHEET_STEPS)
        pictures = (latents / LATENT_SCALE + 1).clamp(0, 2) * 127.5
        grid = pictures.unflatten(0, (SHEET_ROWS, -1)).permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
        sheet = Image.fromarray(grid.byte().cpu().numpy())
        return sheet.resize((sheet.width * SHEET_SCALE, sheet.height * SHEET_SCALE), Image.Resampling.NEAREST)

    def export(self, path: Path) -> None:
        """A checkpoint for the host."""
        state = {name: weight.half().cpu().contiguous() for name, weight in zip(self.names, self.average, strict=True)}
        with _replacing(path) as unfinished:
            save_file({**state, PIXEL_SPACE_VAE: torch.tensor(1.0)}, unfinished)

    def start_from(self, path: Path) -> None:
        """Take the weights of an exported checkpoint."""
        state = load_file(path)
        for weights in (self.weights, self.average):
            _set(weights, [state[name].float() for name in self.names])

    def save(self, path: Path) -> None:
        state = {
            "average": self.average,
            "weights": [weight.detach() for weight in self.weights],
            "optimizer": self.optimizer.state_dict(),
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
        self.optimizer.load_state_dict(state["optimizer"])


def _flat(pictures: Tensor, axis: int) -> Tensor:
    """Where neighbours along an axis have one colour: `(rows, 1, height, width)`, one less along the axis."""
    return pictures.diff(dim=axis).abs().amax(1, keepdim=True) < FLAT


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


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Up to its peak in WARM_UP steps, level, and down to nothing in the last DECAY of them.

    Level, so that a run can be made longer after the fact: only what it learnt while the rate fell is learnt again.
    """
    return peak * min(1.0, (step + 1) / WARM_UP, (steps - step) / (DECAY * steps))


def train(trainer: Trainer, options: argparse.Namespace) -> None:
    """Up to `options.steps`, with a checkpoint and the state on disk every so often."""
    smooth = None
    with tqdm(total=options.steps, initial=trainer.step, unit="step", smoothing=0.05, mininterval=5) as bar:
        while trainer.step < options.steps:
            loss = trainer.loss(*trainer.batch(options.batch))
            trainer.update(loss, learning_rate(trainer.step, options.steps, options.lr))
            smooth = loss.item() if smooth is None else 0.98 * smooth + 0.02 * loss.item()
            bar.update()
            if trainer.step % REPORT_EVERY == 0:
                bar.set_postfix(loss=f"{smooth:.4f}", refresh=False)
            last = trainer.step == options.steps
            if trainer.step % SAVE_EVERY == 0 or last:
                trainer.save(options.out / STATE)
            if trainer.step % options.sheet_every == 0 or last:
                trainer.export(options.out / CHECKPOINT)
                trainer.sheet().save(options.out / f"samples-{trainer.step:06d}.png")


def main() -> int:
    parser = argparse.ArgumentParser(prog="dev.py train", description="Train the icon model, or go on training it.")
    parser.add_argument("--steps", type=int, default=12_000, help="in all, over every run (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=64, help="icons a step (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=6e-4, help="peak learning rate (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--sheet-every", type=int, default=500, metavar="STEPS", help="default: %(default)s")
    parser.add_argument("--start-from", type=Path, metavar="FILE", help="begin with the weights of this checkpoint")
    parser.add_argument("--out", type=Path, metavar="DIR", default=OUT, help="default: output/train")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(options.seed, "cuda" if torch.cuda.is_available() else "cpu")
    try:
        if (options.out / STATE).exists():
            trainer.load(options.out / STATE)
        elif options.start_from:
            trainer.start_from(options.start_from)
    except (OSError, ValueError, KeyError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{sum(weight.numel() for weight in trainer.weights) / 1e6:.2f} M parameters, from step {trainer.step}")
    try:
        train(trainer, options)
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from the last state saved", file=sys.stderr)
        return 130
    print(f"{trainer.step} steps; wrote {options.out / CHECKPOINT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
