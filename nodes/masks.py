"""StyleAlignedMasks: where style is taken from, and where it is taken."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..shared_attention.host.masks import Masks, set_masks
from ..shared_attention.masks import read_style_mask, read_target_mask
from .limits import require_limits


class StyleAlignedMasks(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAlignedMasks",
            display_name="Style Aligned: Masks",
            category="Style Aligned",
            description=(
                "Take the style from a part of the reference, and give it to a part of the images. Before or after "
                "Share Attention; for all models."
            ),
            search_aliases=[
                "style aligned",
                "shared attention",
                "consistent style",
                "style mask",
                "regional style",
                "style from part of image",
                "attention mask",
                "ip-adapter mask",
                "style leakage",
            ],
            inputs=[
                io.Model.Input("model", tooltip="The model, with or without Share Attention."),
                io.Mask.Input(
                    "style_mask",
                    optional=True,
                    tooltip="Over the reference: white is where style is taken from, black is left out, grey counts by "
                    "so much. Any size: it is stretched over the picture.",
                ),
                io.Mask.Input(
                    "target_mask",
                    optional=True,
                    tooltip="Over the images: white takes on the style, black stays as without sharing. One mask for "
                    "all images, or a batch with one for each that takes on the style.",
                ),
                io.Float.Input(
                    "protect_content",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Keeps what the reference shows out of the images: 0 does nothing, 1 lets them look at no "
                    "place of its subject more than at its other places. Needs Style Aligned: Prompts.",
                ),
                io.String.Input(
                    "subject",
                    default="",
                    tooltip="The words of the reference's prompt that name its subject, such as: red bull. Empty for "
                    "all words of its line, without the style.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The model, for Share Attention or a sampler.")],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        style_mask: Tensor | None = None,
        target_mask: Tensor | None = None,
        protect_content: float = 0.0,
        subject: str = "",
    ) -> io.NodeOutput:
        require_limits(cls, protect_content=protect_content)
        style, target = read_style_mask(style_mask), read_target_mask(target_mask)
        return io.NodeOutput(set_masks(model, Masks(style, target, protect_content, subject)))
