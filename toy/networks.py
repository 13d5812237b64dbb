"""What `toy.train` trains: the icon UNet and the icon transformer, each with what is its own about training it."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from . import icons, sampling
from .architecture import UNET
from .flux import FluxTransformer
from .precision import half_precision
from .text_encoder import TEXT_PREFIX, TextEncoder, load_text_encoder

MODEL_PREFIX = "model.diffusion_model."
UNET_CHECKPOINT = Path(__file__).with_name("icons.safetensors")

LOWER_LEVELS = 1.5  # the power of a uniform draw that picks the UNet's noise level: details settle at the lower ones
FLOW_LEVELS = 0.3, 1.1  # mean and spread of the normal draw whose sigmoid is the transformer's (Esser et al. 2024)
ANY_LEVEL = 0.15  # how often it is any, since that draw hardly has the ends
HARD_SHAPES = ("sun", "paw")  # of rays and toes, which take small details: the transformer sees them twice as often


class Network(Protocol):
    """A model of icons in training. `learnt` and `fixed` are its weights by their names in a checkpoint."""

    file_name: str  # of its checkpoint, without an ending
    process: sampling.Process
    importance: Tensor  # (TIMESTEPS,), of squared errors
    shapes: Sequence[str]  # that it is shown, some of them twice
    learnt: dict[str, nn.Parameter]
    fixed: dict[str, Tensor]

    def predict(self, noised: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        """Velocities of pictures `(rows, 3, SIZE, SIZE)` at timesteps `(rows,)`, captions `(rows, CONTEXT_LENGTH)`."""

    def draw_timesteps(self, rows: int, generator: torch.Generator) -> Tensor: ...

    def optimizers(self) -> list[torch.optim.Optimizer]: ...


class IconUNet:
    """The host's UNet and the text encoder, which learn together."""

    file_name = "icons"
    shapes = icons.SHAPES

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.process = sampling.diffusion().to(device)
        self.importance = torch.ones_like(self.process.signal)
        self.unet, self.text_encoder = _host_unet().to(device), TextEncoder().to(device)
        self.learnt = _named(MODEL_PREFIX, self.unet) | _named(TEXT_PREFIX, self.text_encoder)
        self.fixed: dict[str, Tensor] = {}

    def predict(self, noised: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        with half_precision(noised.device):
            context = self.text_encoder(tokens)
            velocity: Tensor = self.unet(
                noised, timesteps.float(), context=context, control=None, transformer_options={}
            )
        return velocity.float()

    def draw_timesteps(self, rows: int, generator: torch.Generator) -> Tensor:
        return (torch.rand(rows, generator=generator) ** LOWER_LEVELS * sampling.TIMESTEPS).long()

    def optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.AdamW(self.learnt.values(), weight_decay=0.01, betas=(0.9, 0.99))]


class IconFlux:
    """The transformer; its captions are read by the UNet's text encoder, which stays as it is."""

    file_name = "flux"
    shapes = (*icons.SHAPES, *HARD_SHAPES)

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.process = sampling.rectified_flow().to(device)
        self.importance = (2 * self.process.noise_level).clamp(max=1)  # at low noise the picture hardly depends on it
        self.transformer = FluxTransformer().to(device)
        self.text_encoder = load_text_encoder(UNET_CHECKPOINT).to(device)
        self.learnt = _named(MODEL_PREFIX, self.transformer)
        self.fixed = {TEXT_PREFIX + name: weight for name, weight in self.text_encoder.state_dict().items()}

    def predict(self, noised: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        with half_precision(noised.device):
            context = self.text_encoder(tokens)
            end = (tokens == icons.TOKEN_OF[icons.END]).int().argmax(1)  # the first: the host's pooled state is there
            pooled = context[torch.arange(len(tokens), device=end.device), end]
            velocity: Tensor = self.transformer(noised, self.process.noise_level[timesteps], context, pooled)
        return velocity.float()

    def draw_timesteps(self, rows: int, generator: torch.Generator) -> Tensor:
        """Spread evenly over the distribution within a batch, which makes losses less a matter of luck."""
        mean, spread = FLOW_LEVELS
        even = (torch.arange(rows) + torch.rand(rows, generator=generator)) / rows
        levels = torch.sigmoid(mean + spread * torch.special.ndtri(even))
        anywhere = torch.rand(rows, generator=generator) < ANY_LEVEL
        levels = torch.where(anywhere, torch.rand(rows, generator=generator), levels)
        return (levels * sampling.TIMESTEPS).long().clamp(max=sampling.TIMESTEPS - 1)

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """Muon (Jordan et al. 2024) for the blocks' matrices, which learns from fewer icons; AdamW for the rest."""
        matrices = {name for name, weight in self.learnt.items() if _is_a_blocks_matrix(name, weight)}
        inner, outer = (
            [weight for name, weight in self.learnt.items() if (name in matrices) == each] for each in (True, False)
        )
        return [
            torch.optim.Muon(inner, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(outer, weight_decay=0.01, betas=(0.9, 0.99)),
        ]


def _is_a_blocks_matrix(name: str, weight: Tensor) -> bool:
    return weight.ndim == 2 and "_blocks." in name and not name.endswith(".lin.weight")


def load(network: Network, path: Path) -> None:
    """Take the weights of an exported checkpoint; raises KeyError for one of another model."""
    state = load_file(path)
    with torch.no_grad():
        for name, weight in network.learnt.items():
            weight.copy_(state[name])


def _named(prefix: str, module: nn.Module) -> dict[str, nn.Parameter]:
    return {prefix + name: weight for name, weight in module.named_parameters()}


def _host_unet() -> nn.Module:
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


NETWORKS = {"unet": IconUNet, "flux": IconFlux}
