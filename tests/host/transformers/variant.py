"""A tiny random transformer with the structure of a real family, in the host's own model class."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import comfy.model_patcher
import comfy.supported_models
import torch
from double import call_in_double
from positions import Rope, Tokens
from torch import Tensor, nn

CPU = torch.device("cpu")
LayerKey = tuple[str, int]
"""A joint layer as `blocks` names it: ("single", 3) is single.3."""


def no_rope(_: nn.Module) -> None:
    """Of models whose positions are absolute."""


@dataclass(frozen=True)
class Variant:
    """One model variant: how the host builds it, what it is conditioned with, and what the oracle knows about it.

    config, unet: the class in comfy.supported_models and its configuration. latent: (channels, [frames,] height,
    width), not square, odd where the host takes it. context: channels of the text embedding.
    conditioned: (rows, generator) -> more of the conditioning. layers: the modules that attend jointly.
    tokens: (unet, shape of the model's input, tokens of the attention) -> Tokens. rope: of the unet, None where
    positions are absolute. constants: (module, name, value) that the test sets for the host. transformer_options: of
    every call, as other nodes set them.
    """

    name: str
    config: str
    unet: dict[str, Any]
    latent: tuple[int, ...]
    context: int
    layers: Callable[[nn.Module], Iterator[tuple[LayerKey, nn.Module]]]
    tokens: Callable[[nn.Module, torch.Size, int], Tokens]
    rope: Callable[[nn.Module], Rope | None] = no_rope
    conditioned: Callable[[int, torch.Generator], dict[str, Any]] = lambda rows, generator: {}
    text: int = 7
    constants: tuple[tuple[str, str, Any], ...] = ()
    transformer_options: dict[str, Any] = field(default_factory=dict)

    @property
    def supported(self) -> bool:
        """Whether this host has the model."""
        return hasattr(comfy.supported_models, self.config)

    @property
    def is_rotary(self) -> bool:
        return self.rope is not no_rope

    def model(self, dtype: torch.dtype = torch.float32, seed: int = 0) -> comfy.model_patcher.ModelPatcher:
        """A model with random weights, the same in every dtype."""
        config = getattr(comfy.supported_models, self.config)(dict(self.unet))
        config.unet_config.update(self.unet)  # some classes set the sizes of the real model
        config.set_inference_dtype(dtype, None)
        patcher = comfy.model_patcher.CoreModelPatcher(config.get_model({}, "", CPU), CPU, CPU)
        fill(patcher.model.diffusion_model, seed)
        patcher.model.eval()
        patcher.model_options["transformer_options"].update(self.transformer_options)
        if dtype == torch.float64:
            patcher.set_model_unet_function_wrapper(call_in_double)
        return patcher

    def conditioning(self, rows: int = 1, seed: int = 1, text: int | None = None) -> list[list[Any]]:
        """A random CONDITIONING of `rows` prompts of `text` tokens, as the family's text encoder gives it."""
        generator = torch.Generator().manual_seed(seed)
        embedding = torch.randn(rows, self.text if text is None else text, self.context, generator=generator)
        return [[embedding, {"pooled_output": None, **self.conditioned(rows, generator)}]]

    def noise(self, images: int = 3, seed: int = 7) -> Tensor:
        """Each image's noise depends on its index only."""
        generators = (torch.Generator().manual_seed(seed + image) for image in range(images))
        return torch.stack([torch.randn(self.latent, generator=generator) for generator in generators])


def fill(module: nn.Module, seed: int) -> None:
    """Random weights that keep activations near unit size, layers that start at zero and stored positions included."""
    generator = torch.Generator().manual_seed(seed)
    stored = [(name, buffer) for name, buffer in module.named_buffers() if name.endswith("pos_embed")]
    for name, parameter in [*module.named_parameters(), *stored]:
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            value = noise / parameter[0].numel() ** 0.5 if parameter.shape[0] > 1 else noise
        else:
            value = 0.1 * noise + (1.0 if name.endswith(("weight", "scale")) else 0.0)
        parameter.data.copy_(value)


def numbered(kind: str, blocks: nn.ModuleList, part: str = "") -> Iterator[tuple[LayerKey, nn.Module]]:
    """(kind, i) of each block, and the block, or a part of it."""
    for i, block in enumerate(blocks):
        yield (kind, i), block.get_submodule(part)


def padded(rows: int, generator: torch.Generator) -> dict[str, Any]:
    """A mask of prompts of unequal length, of the kind that text encoders give: whole numbers, 0 behind the prompt."""
    mask = torch.ones(rows, Variant.text, dtype=torch.int64)
    for row in range(rows):
        mask[row, Variant.text - 1 - row % 3 :] = 0
    return {"attention_mask": mask}
