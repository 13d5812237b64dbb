"""The files, as the workflows name them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import comfy.ldm.wan.vae
import comfy.taesd.taesd
import folder_paths
import torch
from safetensors.torch import save_file
from torch import nn

from .diffusion_models import MINIATURES
from .text_encoders import ENCODERS, State

sys.path.append(str(Path(__file__).resolve().parents[2] / "host" / "transformers"))

from variant import fill

LATENT_CHANNELS = 16


def flux_vae() -> nn.Module:
    """The tiny autoencoder that there is for Flux's latents, which the VAE loader takes as well as the large one."""
    return comfy.taesd.taesd.TAESD(latent_channels=LATENT_CHANNELS)


def qwen_image_vae() -> nn.Module:
    """Wan's, whose width the loader reads off."""
    return comfy.ldm.wan.vae.WanVAE(dim=8, z_dim=LATENT_CHANNELS, temperal_downsample=[False, True, True])


VAES = {"ae.safetensors": flux_vae, "qwen_image_vae.safetensors": qwen_image_vae}


def write_all() -> None:
    """Write the checkpoints of the models that this host has."""
    for name, miniature in MINIATURES.items():
        if miniature.supported:
            write("diffusion_models", name, miniature.made())
    for name, encoder in ENCODERS.items():
        if encoder.supported:
            write("text_encoders", name, encoder.made(), encoder.published)
    for name, made in VAES.items():
        write("vae", name, made())


def write(folder: str, name: str, module: nn.Module, published: Callable[[State], State] = dict) -> None:
    """With random weights in half precision, under the names that `published` gives them."""
    fill(module, seed=1)
    path = Path(folder_paths.models_dir, folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: weight.to(torch.float16).contiguous() for name, weight in module.state_dict().items()}
    save_file(published(state), path)
