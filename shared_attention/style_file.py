"""Styles as files: a reference, to go on with a set on another day or another machine.

One safetensors file holds the tensors

    reference                       (1, channels, height, width), as a LATENT holds it, or of one frame
    trajectory.sigmas, .latents     where the reference was inverted
    conditioning.N, .N.OPTION       entry N's embeddings (1, tokens, channels), and its options that are tensors

and as metadata what they belong to (model, latent format), the conditioning's other options, the prompt, and a digest
of it all. A style read back is therefore the style that was written, bit for bit, or refused.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from .conditioning import Conditioning
from .trajectory import LatentSpace, Trajectory
from .version import VERSION

FORMAT, FORMAT_VERSION = "style_aligned.style", 1
MAX_BYTES = 2**31
MAX_HEADER_BYTES = 2**20

Tensors = dict[str, Tensor]
Metadata = dict[str, str]

_FLOATS = {torch.float64, torch.float32, torch.float16, torch.bfloat16}
_WHOLE_NUMBERS = {torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}


class StyleFileError(ValueError):
    """The bytes are no style that can be used; the message says why."""


@dataclass(frozen=True, eq=False)
class Style:
    """What a set is continued from.

    `model` is the kind of model it was made with, such as SD15 or SDXL, `latent_format` that of its latents: the host's
    class names. Raises ValueError where the parts are not a reference or do not fit together.
    """

    reference: Tensor
    model: str
    latent_format: str
    trajectory: Trajectory | None = None
    conditioning: Conditioning | None = None
    prompt: str = ""

    def __post_init__(self) -> None:
        _check_reference(self.reference)
        if self.trajectory is not None:
            self._check_trajectory(self.trajectory)
        if self.conditioning is not None:
            _check_conditioning(self.conditioning)

    def _check_trajectory(self, trajectory: Trajectory) -> None:
        tensors = {"noise levels": trajectory.sigmas, "latents": trajectory.latents}
        for name, tensor in tensors.items():
            if tensor.dtype != torch.float32 or not bool(tensor.isfinite().all()):
                raise ValueError(
                    f"The trajectory's {name} have to be finite 32-bit numbers. Invert the picture again, at cfg 2."
                )
        if trajectory.latents.shape[1:] != self.reference.shape[1:]:
            raise ValueError(
                f"The trajectory is of latents of shape {tuple(trajectory.latents.shape[1:])}, the reference of "
                f"{tuple(self.reference.shape[1:])}. Invert the reference itself."
            )
        if trajectory.latent_format != self.latent_format:
            raise ValueError(
                f"The trajectory is of {trajectory.latent_format} latents, the reference of {self.latent_format} ones. "
                "Invert with the model that draws the set."
            )


def _check_reference(reference: Tensor) -> None:
    is_image = reference.ndim == 4 or (reference.ndim == 5 and reference.shape[2] == 1)
    if not is_image or len(reference) != 1 or reference.numel() == 0:
        raise ValueError(
            f"The reference has to be the latent of one picture, of shape (1, channels, height, width); this one has "
            f"the shape {tuple(reference.shape)}. Latent From Batch picks one of several."
        )
    if reference.dtype not in _FLOATS or not bool(reference.isfinite().all()):
        raise ValueError("The reference has values that are not finite numbers; encode the picture again.")
    if not bool(reference.any()):
        raise ValueError("The reference is an empty latent. Give the latent of a picture: VAE Encode makes one.")


def _check_conditioning(conditioning: Conditioning) -> None:
    for embeddings, options in conditioning:
        if embeddings.ndim != 3 or len(embeddings) != 1 or embeddings.dtype not in _FLOATS:
            raise ValueError(
                f"The conditioning has to be the text encoding of one prompt, of shape (1, tokens, channels); this one "
                f"has the shape {tuple(embeddings.shape)}. Connect that of Style Aligned: Prompts or CLIP Text Encode."
            )
        for name, value in {"embeddings": embeddings, **options}.items():
            _check_option(name, value)


def _check_option(name: str, value: object) -> None:
    if isinstance(value, Tensor):
        storable = value.dtype in _FLOATS | _WHOLE_NUMBERS and bool(value.isfinite().all())
    elif isinstance(value, float):
        storable = math.isfinite(value)
    else:
        storable = value is None or isinstance(value, str | int)
    if not storable:
        raise ValueError(
            f"The conditioning's {name!r} cannot be kept in a style file. Connect the conditioning from before the "
            "node that added it."
        )


def encode(style: Style) -> bytes:
    """The content of a style's file."""
    tensors: Tensors = {"reference": style.reference}
    metadata = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "pack_version": VERSION,
        "model": style.model,
        "latent_format": style.latent_format,
        "latent_size": f"{style.reference.shape[-1]}x{style.reference.shape[-2]}",
        "prompt": style.prompt,
    }
    if style.trajectory is not None:
        tensors |= {"trajectory.sigmas": style.trajectory.sigmas, "trajectory.latents": style.trajectory.latents}
        metadata |= {"trajectory_space": style.trajectory.space.value, "trajectory_model": style.trajectory.model}
    if style.conditioning is not None:
        tensors |= _conditioning_tensors(style.conditioning)
        metadata["conditioning"] = json.dumps([_plain_options(options) for _, options in style.conditioning])
    # Copies, since safetensors takes neither views nor tensors that share memory.
    tensors = {name: tensor.cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    content = safetensors.torch.save(tensors, {**metadata, "sha256": _digest(tensors, metadata)})
    if len(content) > MAX_BYTES or _header_length(content) > MAX_HEADER_BYTES:
        raise ValueError("The style is too large for a file: shorten the prompt, or invert with fewer steps.")
    return content


def _conditioning_tensors(conditioning: Conditioning) -> Tensors:
    tensors: Tensors = {}
    for number, (embeddings, options) in enumerate(conditioning):
        tensors[f"conditioning.{number}"] = embeddings
        for name, value in options.items():
            if isinstance(value, Tensor):
                tensors[f"conditioning.{number}.{name}"] = value
    return tensors


def _plain_options(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if not isinstance(value, Tensor)}


def _digest(tensors: Tensors, metadata: Metadata) -> str:
    """SHA-256 of names, kinds and values, whatever order a file has them in."""
    digest = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def decode(content: bytes) -> Style:
    """The style in a file's content; StyleFileError where that is anything but a whole style."""
    metadata = _metadata(content)
    try:
        tensors = safetensors.torch.load(content)
    except Exception as error:  # besides its own error the library raises KeyError, MemoryError and others
        raise StyleFileError(f"it is truncated or damaged ({error}); copy the file again") from error
    recorded = metadata.pop("sha256", "")
    if recorded != _digest(tensors, metadata):
        raise StyleFileError("it is damaged, its content is not what was saved; copy the file again")
    try:
        return _style(tensors, metadata)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise StyleFileError(f"it is not a whole style: {str(error).rstrip('.')}; save it again") from error


def _header_length(content: bytes) -> int:
    return int.from_bytes(content[:8], "little")


def _metadata(content: bytes) -> Metadata:
    """The metadata of a style file of a version that is known here."""
    length = _header_length(content)
    if len(content) > MAX_BYTES or len(content) < 8 + length or length > MAX_HEADER_BYTES:
        raise StyleFileError(
            "it is truncated, or not a safetensors file; copy it again, or give one that Save Style wrote"
        )
    try:
        metadata = json.loads(content[8 : 8 + length])["__metadata__"]
        format_name, version = metadata["format"], int(metadata["format_version"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StyleFileError("it is not a style; give a file that Save Style wrote") from error
    if format_name != FORMAT:
        raise StyleFileError("it is not a style; give a file that Save Style wrote")
    if version > FORMAT_VERSION:
        raise StyleFileError(
            f"it was saved by a later version of Style Aligned ({metadata.get('pack_version')}); update this one "
            f"({VERSION})"
        )
    return dict(metadata)


def _style(tensors: Tensors, metadata: Metadata) -> Style:
    trajectory = conditioning = None
    if "trajectory_space" in metadata:
        trajectory = Trajectory(
            sigmas=tensors["trajectory.sigmas"],
            latents=tensors["trajectory.latents"],
            space=LatentSpace(metadata["trajectory_space"]),
            model=metadata["trajectory_model"],
            latent_format=metadata["latent_format"],
        )
    if "conditioning" in metadata:
        plain = json.loads(metadata["conditioning"])
        conditioning = [_entry(tensors, number, options) for number, options in enumerate(plain)]
    return Style(
        tensors["reference"], metadata["model"], metadata["latent_format"], trajectory, conditioning, metadata["prompt"]
    )


def _entry(tensors: Tensors, number: int, plain: dict[str, Any]) -> list[Any]:
    prefix = f"conditioning.{number}"
    stored = {
        name.removeprefix(f"{prefix}."): tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")
    }
    return [tensors[prefix], {**plain, **stored}]
