"""The model a style belongs to, and the style as that host's nodes take it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import comfy.model_management
from torch import Tensor

from ..conditioning import Conditioning, first_row
from ..style_file import Style
from ..subject_words import without_words
from ..trajectory import Trajectory
from .recorded_path import RecordedPath, matching_trajectory
from .reference_latent import kind_of, one_image


def style_of(
    model: Any,
    reference: Mapping[str, Any],
    trajectory: Trajectory | RecordedPath | None,
    conditioning: Conditioning | None,
    prompt: str,
) -> Style:
    """The style of the reference in the host's LATENT; ValueError where its parts do not fit together."""
    samples = one_image(model, reference)
    path = matching_trajectory(model, samples, trajectory)
    kind, latent_format = kind_of(model)
    text = without_words(first_row(conditioning)) if conditioning else conditioning
    return Style(samples, kind, latent_format, path, text, prompt)


def require_model(model: Any, style: Style, name: str) -> None:
    """Raises ValueError where the style `name` was made with a model of another kind."""
    kind, latent_format = kind_of(model)
    if (style.model, style.latent_format) != (kind, latent_format):
        raise ValueError(
            f"The style {name!r} was made with another kind of model: {style.model} with {style.latent_format} "
            f"latents. The connected one is {kind} with {latent_format} latents. Load a style made with this kind."
        )


def latent_of(style: Style) -> dict[str, Tensor]:
    """The host's LATENT."""
    return {"samples": style.reference.to(comfy.model_management.intermediate_device())}


def conditioning_of(style: Style) -> Conditioning | None:
    """The host's CONDITIONING, where text encoders leave theirs."""
    device = comfy.model_management.intermediate_device()

    def placed(value: Any) -> Any:
        return value.to(device) if isinstance(value, Tensor) else value

    if style.conditioning is None:
        return None
    return [
        [placed(embeddings), {name: placed(value) for name, value in options.items()}]
        for embeddings, options in style.conditioning
    ]
