"""Train an icon model: `python dev.py train` starts this in the host's Python, on a GPU if there is one.

Every batch is drawn anew. In the output folder are the checkpoint, which is the running average of the weights in half
precision under the names that the host's loader expects, the state, from which the same command goes on, and sample
sheets.
"""

import argparse
import sys
from pathlib import Path

import torch
from tqdm import tqdm

from .networks import NETWORKS
from .trainer import Trainer

OUT = Path(__file__).resolve().parent.parent / "output" / "train"
WARM_UP = 200  # steps
DECAY = 0.4  # the share of the steps, at the end, in which the learning rate falls to nothing
REPORT_EVERY, SAVE_EVERY = 20, 100  # steps


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Up to its peak in WARM_UP steps, level, and down to nothing in the last DECAY of them.

    Level, so that a run can be made longer after the fact: only what it learnt while the rate fell is learnt again.
    """
    return peak * min(1.0, (step + 1) / WARM_UP, (steps - step) / (DECAY * steps))


def train(trainer: Trainer, options: argparse.Namespace) -> None:
    """Up to `options.steps`, with a checkpoint and the state on disk every so often."""
    smooth, name = None, trainer.network.file_name
    with tqdm(total=options.steps, initial=trainer.step, unit="step", smoothing=0.05, mininterval=5) as bar:
        while trainer.step < options.steps:
            rate = learning_rate(trainer.step, options.steps, options.lr)
            loss = trainer.train_step(trainer.batch(options.batch), rate)
            smooth = loss if smooth is None else 0.98 * smooth + 0.02 * loss
            bar.update()
            if trainer.step % REPORT_EVERY == 0:
                bar.set_postfix(loss=f"{smooth:.4f}", refresh=False)
            last = trainer.step == options.steps
            if trainer.step % SAVE_EVERY == 0 or last:
                trainer.save(state_of(options))
            if trainer.step % options.sheet_every == 0 or last:
                trainer.export(checkpoint_of(options))
                trainer.sheet().save(options.out / f"{name}-{trainer.step:06d}.png")


def checkpoint_of(options: argparse.Namespace) -> Path:
    return options.out / f"{NETWORKS[options.model].file_name}.safetensors"


def state_of(options: argparse.Namespace) -> Path:
    return options.out / f"{NETWORKS[options.model].file_name}.state.pt"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dev.py train", description="Train an icon model, or go on training it.")
    parser.add_argument("--model", choices=NETWORKS, default="unet", help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=12_000, help="in all, over every run (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=64, help="icons a step (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=6e-4, help="peak learning rate (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--taught", type=int, default=0, metavar="STEPS",
                        help="learn this many steps from the icon UNet too (default: %(default)s)")  # fmt: skip
    parser.add_argument("--workers", type=int, default=1, metavar="N",
                        help="threads that share a step's icons (default: %(default)s)")  # fmt: skip
    parser.add_argument("--sheet-every", type=int, default=500, metavar="STEPS", help="default: %(default)s")
    parser.add_argument("--start-from", type=Path, metavar="FILE", help="begin with the weights of this checkpoint")
    parser.add_argument("--out", type=Path, metavar="DIR", default=OUT, help="default: output/train")
    return parser.parse_args()


def main() -> int:
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.workers > 1:
        torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    trainer = Trainer(options.seed, device, options.model, options.taught, options.workers)
    try:
        if state_of(options).exists():
            trainer.load(state_of(options))
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
    print(f"{trainer.step} steps; wrote {checkpoint_of(options)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
