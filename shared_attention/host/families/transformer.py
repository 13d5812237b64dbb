"""What a transformer's family has to say: which modules attend, where the image's tokens are, how they are rotated."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...layers import LayerKey, LayerSelection
from ...rotary import Rotary, rotations
from ...sharing import SharingSettings
from ..calls import Call, Options
from .joint_attention import share_joint_attention
from .noting import uncompiled_module


@dataclass(frozen=True)
class Image:
    """The size of the image being sampled, in tokens."""

    frames: int
    height: int
    width: int

    @property
    def tokens(self) -> int:
        return self.frames * self.height * self.width


@dataclass(frozen=True)
class Layer:
    """One joint attention, as it is known when its module is entered.

    image: where the image's own tokens are among as many tokens as the attention turns out to have.
    rotary: of all tokens of the attention, or of the first ones; None where positions are absolute.
    """

    key: LayerKey
    image: Callable[[int], slice]
    rotary: Rotary | None


def from_start(start: int, image: Image) -> Callable[[int], slice]:
    """The image's tokens follow `start` others."""
    place = slice(start, start + image.tokens)
    return lambda tokens: place


def from_end(after: int, image: Image) -> Callable[[int], slice]:
    """The image's tokens are followed by `after` others."""
    return lambda tokens: slice(tokens - after - image.tokens, tokens - after)


class Transformer(ABC):
    """A family of transformers that share one layout. Positions are absolute unless a family says otherwise.

    Families hold no state: everything is read from the model and the call.
    """

    name: str
    """What users call the model."""
    classes: tuple[str, ...]
    """Names of its class in the host, with as much of the module's path in front as tells it from others."""
    shared_by_default: str = ""
    """The blocks that share where the user names none; empty for all."""
    is_patched_before_rotation: bool = False
    """Whether the host calls patches of these models with normalised queries and keys that are not rotated yet."""

    is_centred: bool = False
    """Whether positions are counted from the middle of an image, and not from its first token."""

    def knows(self, unet: Any) -> bool:
        """Whether the host's network is of this family."""
        return is_of_class(unet, self.classes) and self.accepts(unet)

    def accepts(self, unet: Any) -> bool:
        """Whether `unet`, of one of `classes`, is a model of this family."""
        return True

    def patch_size(self, unet: Any) -> int:
        """How many latent pixels a token is wide and high."""
        return int(unet.patch_size)

    def image(self, unet: Any, x: Tensor) -> Image:
        """The size in tokens of the model's input `x` (rows, channels, (frames,) height, width)."""
        size = self.patch_size(unet)
        frames = x.shape[2] if x.ndim == 5 else 1
        return Image(frames, -(-x.shape[-2] // size), -(-x.shape[-1] // size))

    @abstractmethod
    def modules(self, unet: Any) -> Iterator[tuple[LayerKey, Any]]:
        """The smallest modules around exactly the attentions to share, in the order in which they run."""

    @abstractmethod
    def layer(self, unet: Any, key: LayerKey, image: Image, arguments: Mapping[str, Any]) -> Layer:
        """The layer of the module under `key`, which is being called with `arguments` (by name, without defaults)."""

    def check_call(self, conditioning: Mapping[str, Any]) -> None:
        """Raises ValueError where a call's conditioning (by name, as the host hands it on) rules sharing out."""
        return

    def layers(self, unet: Any) -> list[LayerKey]:
        """Every block that can share, once."""
        return list(dict.fromkeys(key for key, _ in self.modules(unet)))

    def selectable(self, unet: Any, settings: SharingSettings) -> list[LayerKey]:
        """The blocks that `blocks` may name. Raises ValueError where the settings ask for what there is not."""
        if settings.share_group_norm:
            raise ValueError(
                f"share_group_norm is on and {self.name} has no group norms. Switch it off; a higher shift makes the "
                "style stronger."
            )
        return self.layers(uncompiled_module(unet))

    def bytes_kept(self, unet: Any, x: Sequence[int], chosen: LayerSelection, element: int) -> int:
        """About what a bank keeps of a reference: the keys and values of the layers chosen, for one conditioning.

        x: the shape of the reference's latent. element: bytes of a number.
        """
        unet = uncompiled_module(unet)
        tokens, layers = self.image(unet, torch.empty(tuple(x), device="meta")).tokens, self.selection(chosen)
        modules = (uncompiled_module(module) for key, module in self.modules(unet) if key in layers)
        return tokens * element * sum(self.channels_kept(module) for module in modules)

    def channels_kept(self, module: Any) -> int:
        """How many channels the keys and values of a token have in a module, together.

        Keys are as wide as what flows through the model, the width that most of the module's layers take.
        """
        widths = Counter(int(layer.in_features) for layer in module.modules() if hasattr(layer, "in_features"))
        return 2 * widths.most_common(1)[0][0]

    def most_tokens(self, unet: Any) -> tuple[int | None, int | None]:
        """How many tokens wide or high an image may be, and how many it may have; None where positions go on."""
        return None, None

    def selection(self, chosen: LayerSelection) -> LayerSelection:
        """The layers to share where the user chose these; where none is named, those that the authors share."""
        return chosen.or_default(self.shared_by_default)

    def attached(self, unet: Any, x: Tensor, options: Options, call: Call) -> AbstractContextManager[None]:
        """A context in which the joint attentions of a model call share; see joint_attention."""
        return share_joint_attention(self, unet, x, options, call)

    def step(self, unet: Any, options: Mapping[str, Any]) -> float:
        """How many positions neighbouring tokens are apart. options: the call's transformer_options."""
        return 1.0

    def turn(self, unet: Any, offset: float, device: torch.device) -> Rotary | None:
        """The rotation that moves a token by `offset` positions to the right; None where positions are absolute."""
        return None

    def pair_axes(self, unet: Any) -> str | None:
        """The axis of each pair of channels, a letter a pair, "y" and "x" for the image's; None as above."""
        return None


class Embedded(Transformer):
    """Transformers whose rotations are made by the host's EmbedND or by a module called like it."""

    axes: str = "tyx"
    """A letter for each number of a token's position."""

    def embedder(self, unet: Any) -> Any:
        return unet.pe_embedder

    def turn(self, unet: Any, offset: float, device: torch.device) -> Rotary | None:
        ids = torch.zeros(1, 1, len(self.axes), device=device)
        ids[..., self.axes.index("x")] = offset
        return Rotary(self.embedder(unet)(ids))

    def pair_axes(self, unet: Any) -> str | None:
        return blocks_of_pairs(self.axes, self.embedder(unet).axes_dim)


class Computed(Transformer):
    """Transformers whose host code offers no rotation by any position: it is computed from their frequencies."""

    halves: bool = False

    @abstractmethod
    def pair_axes(self, unet: Any) -> str: ...

    @abstractmethod
    def frequencies(self, unet: Any) -> Tensor:
        """Radians a position of each pair of the axis x, in float64."""

    def turn(self, unet: Any, offset: float, device: torch.device) -> Rotary | None:
        axes = self.pair_axes(unet)
        angles = torch.zeros(len(axes), dtype=torch.float64)
        angles[[axis == "x" for axis in axes]] = offset * self.frequencies(unet)
        return Rotary(rotations(angles).to(device, torch.float32)[None, None, None], self.halves)


def is_of_class(unet: Any, names: tuple[str, ...]) -> bool:
    """Whether the class of `unet` has one of `names`: its own name, or that with the end of its module's path."""
    path = f".{type(unet).__module__}.{type(unet).__name__}"
    return any(path.endswith(f".{name}") for name in names)


def geometric(theta: float, channels: int) -> Tensor:
    """The frequencies of an axis of so many channels, as RoPE has them: theta^(-2n / channels)."""
    return theta ** -(torch.arange(0, channels, 2, dtype=torch.float64) / channels)


def blocks_of_pairs(axes: str, channels: Iterable[int]) -> str:
    """The axis of each pair where every axis has a block of channels: "ttyyxx" for "tyx" and (4, 4, 4)."""
    return "".join(axis * (count // 2) for axis, count in zip(axes, channels, strict=True))


def numbered(kind: str, blocks: Iterable[Any]) -> Iterator[tuple[LayerKey, Any]]:
    for number, block in enumerate(blocks):
        yield (kind, number), block


def scale_of_positions(options: Mapping[str, Any]) -> float:
    """How many positions a token is wide under the host's node that scales positions, which only some models read."""
    return float((options.get("rope_options") or {}).get("scale_x", 1.0))


def heads_third(matrices: Tensor, halves: bool = False) -> Rotary:
    """Of matrices (rows, tokens, heads or 1, pairs, 2, 2), as some models have them."""
    return Rotary(matrices.movedim(1, 2), halves)
