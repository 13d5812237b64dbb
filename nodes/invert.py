"""StyleAlignedInvert: a picture's path through the noise levels, for the reference to follow."""

from __future__ import annotations

from typing import Any

import comfy.utils
import latent_preview
from comfy_api.latest import io

from ..shared_attention.host.inversion import invert
from .limits import require_limits
from .sockets import StyleTrajectory


class StyleAlignedInvert(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAlignedInvert",
            display_name="Style Aligned: Invert",
            category="Style Aligned",
            description=(
                "Finds the noise that a picture could have been sampled from, by deterministic DDIM inversion, and "
                "keeps its latent at every noise level. Connect it to the trajectory of Reference or Reference Latent."
            ),
            search_aliases=[
                "style aligned",
                "shared attention",
                "consistent style",
                "style from image",
                "ddim inversion",
                "unsampler",
                "reverse sampling",
            ],
            inputs=[
                io.Model.Input(
                    "model", tooltip="The model that will sample the set: with its LoRAs, before or after other nodes."
                ),
                io.Conditioning.Input(
                    "positive", tooltip="The prompt that describes the picture: what it shows and its style."
                ),
                io.Latent.Input("latent", tooltip="The latent of one picture, from VAE Encode."),
                io.Int.Input(
                    "steps",
                    default=50,
                    min=1,
                    max=1000,
                    tooltip="Model calls, and noise levels of the trajectory. More follow the picture more closely; "
                    "the sampler's own steps may differ. The authors use 50.",
                ),
                io.Float.Input(
                    "cfg",
                    default=2.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    tooltip="Guidance of the inversion, whatever the sampler's is: 1 or 2, the authors use 2. High "
                    "values such as 8 break it: the trajectory no longer leads back to the picture.",
                ),
                io.Conditioning.Input(
                    "negative",
                    optional=True,
                    tooltip="Unconnected it is zeros, which is what the authors' empty prompt is for SDXL. For other "
                    "models connect an empty prompt. Unused at cfg 1.",
                ),
            ],
            outputs=[
                StyleTrajectory.Output(
                    display_name="trajectory",
                    tooltip="The picture at every noise level, for Reference or Reference Latent.",
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        positive: list[list[Any]],
        latent: dict[str, Any],
        steps: int,
        cfg: float,
        negative: list[list[Any]] | None = None,
    ) -> io.NodeOutput:
        require_limits(cls, steps=steps, cfg=cfg)
        preview = latent_preview.prepare_callback(model, steps)
        disable_pbar = not comfy.utils.PROGRESS_BAR_ENABLED
        return io.NodeOutput(invert(model, positive, negative, latent, steps, cfg, preview, disable_pbar))
