"""Train the icon model: the host's UNet and a small text encoder, v-prediction on Stable Diffusion's noise schedule.

    COMFYUI_PATH=path/to/ComfyUI python -m toy.train --minutes 120 --out icons.safetensors [--resume FILE]

Runs on the CPU, in the host's Python; two cores see about 55 images a second. What is exported is the running average
of the weights, in half precision, under the names that the host's checkpoint loader expects. Beside it,
`<out>.state.pt` keeps what --resume needs.
"""

import argparse
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from . import icons
from .architecture import LATENT_SCALE, UNET
from .text_encoder import TextEncoder

TIMESTEPS = 1000
EMPTY_PROMPTS = 0.1  # the share of captions left out, for classifier-free guidance
WARM_UP = 200  # steps


def host_unet() -> nn.Module:
    """The host's UNet with fresh weights."""
    sys.path.insert(0, os.environ["COMFYUI_PATH"])
    from comfy.cli_args import args

    args.cpu = args.use_pytorch_cross_attention = True  # read when the modules below are imported
    import comfy.ops
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    unet = UNetModel(**UNET, dtype=torch.float32, device="cpu", operations=comfy.ops.disable_weight_init)
    for module in unet.modules():  # the host expects to load weights, so its layers skip their initialisation
        for kind in (nn.Linear, nn.Conv2d, nn.GroupNorm, nn.LayerNorm):
            if isinstance(module, kind):
                kind.reset_parameters(module)
    return unet.to(memory_format=torch.channels_last)


def signal_powers() -> Tensor:
    """Stable Diffusion's cumulative alphas, which are the host's default."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, TIMESTEPS, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()


class Trainer:
    """The weights, their running average and the optimizer."""

    def __init__(self, unet: nn.Module, text_encoder: nn.Module) -> None:
        self.unet, self.text_encoder = unet, text_encoder
        named = {f"model.diffusion_model.{name}": weight for name, weight in unet.named_parameters()}
        for name, weight in text_encoder.named_parameters():
            named[f"cond_stage_model.transformer.text_model.{name}"] = weight
        self.names, self.weights = list(named), list(named.values())
        self.average = [weight.detach().clone() for weight in self.weights]
        self.optimizer = torch.optim.AdamW(self.weights, weight_decay=0.01, betas=(0.9, 0.99))
        self.signal = signal_powers()
        self.step = 0

    def loss(self, images: Tensor, tokens: Tensor) -> Tensor:
        """Mean squared error of the predicted v, at one random noise level an image.

        images: uint8 (rows, height, width, 3); tokens: (rows, CONTEXT_LENGTH).
        """
        clean = (images.permute(0, 3, 1, 2).float() / 127.5 - 1) * LATENT_SCALE
        timestep, noise = torch.randint(TIMESTEPS, (len(clean),)), torch.randn_like(clean)
        power = self.signal[timestep].view(-1, 1, 1, 1)
        noised = (power.sqrt() * clean + (1 - power).sqrt() * noise).contiguous(memory_format=torch.channels_last)
        velocity = power.sqrt() * noise - (1 - power).sqrt() * clean
        with torch.autocast("cpu", torch.bfloat16):
            context = self.text_encoder(tokens)
            predicted = self.unet(noised, timestep.float(), context=context, control=None, transformer_options={})
        return (predicted.float() - velocity).square().mean()

    def update(self, loss: Tensor, learning_rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        kept = min(
            0.999, (1 + self.step) / (10 + self.step)
        )  # the first steps' average must not remember fresh weights
        torch._foreach_mul_(self.average, kept)
        torch._foreach_add_(self.average, [weight.detach() for weight in self.weights], alpha=1 - kept)
        self.step += 1

    def export(self, path: Path) -> None:
        """A checkpoint for the host; the last key asks for its pixel-space VAE."""
        state = {name: weight.half().contiguous() for name, weight in zip(self.names, self.average, strict=True)}
        save_file({**state, "first_stage_model.pixel_space_vae": torch.tensor(1.0)}, path)

    def save(self, path: Path) -> None:
        weights = [weight.detach() for weight in self.weights]
        optimizer = self.optimizer.state_dict()
        torch.save({"average": self.average, "weights": weights, "optimizer": optimizer, "step": self.step}, path)

    def load(self, path: Path) -> None:
        state: dict[str, Any] = torch.load(path, weights_only=True)
        self.average, self.step = state["average"], state["step"]
        for weight, saved in zip(self.weights, state["weights"], strict=True):
            weight.data.copy_(saved)
        self.optimizer.load_state_dict(state["optimizer"])


def train(trainer: Trainer, data: icons.Dataset, options: argparse.Namespace) -> None:
    """Until the time is over, at a learning rate that falls with it along a half cosine."""
    images, tokens = torch.from_numpy(data.images), torch.from_numpy(data.tokens)
    nothing = torch.tensor(icons.token_ids([]))
    start, steps, smooth = time.monotonic(), 0, 0.0
    while (done := (time.monotonic() - start) / (options.minutes * 60)) < 1:
        pick = torch.randint(len(images), (options.batch,))
        captions = torch.where(torch.rand(options.batch, 1) < EMPTY_PROMPTS, nothing, tokens[pick])
        loss = trainer.loss(images[pick], captions)
        warm = min(1.0, (steps + 1) / WARM_UP)
        trainer.update(loss, options.lr * warm * (0.5 + 0.5 * math.cos(math.pi * done)) + 1e-6)
        steps, smooth = steps + 1, loss.item() if steps == 0 else smooth * 0.98 + loss.item() * 0.02
        if steps % 200 == 0:
            elapsed = time.monotonic() - start
            speed = steps * options.batch / elapsed
            print(f"step {trainer.step}, {elapsed:.0f} s, loss {smooth:.4f}, {speed:.0f} images/s", flush=True)
        if steps % 1000 == 0:
            trainer.export(options.out)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the icon model.")
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--out", type=Path, default=Path("icons.safetensors"))
    parser.add_argument("--resume", type=Path, help="a state file of an earlier run")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--images", type=int, default=100_000, help="size of the data set, which is drawn first")
    parser.add_argument("--lr", type=float, default=8e-4, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    trainer = Trainer(host_unet(), TextEncoder())
    if options.resume:
        trainer.load(options.resume)
    print(f"{sum(weight.numel() for weight in trainer.weights) / 1e6:.2f} M parameters", flush=True)
    train(trainer, icons.dataset(options.images, options.seed), options)
    trainer.export(options.out)
    trainer.save(options.out.with_name(options.out.name + ".state.pt"))
    print(f"{trainer.step} steps; wrote {options.out}")


if __name__ == "__main__":
    main()
