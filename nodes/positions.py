"""StyleAlignedPositions: where a transformer's targets see the reference."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..shared_attention.host.positions import set_positions
from ..shared_attention.positions import PLACINGS, ReferencePositions
from .limits import require_limits


class StyleAlignedPositions(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAlignedPositions",
            display_name="Style Aligned: Positions",
            category="Style Aligned",
            description=(
                "Where the images see the reference, and how much fine and coarse positions count: against content "
                "that is copied. For transformers such as Flux, Qwen-Image and Z-Image, before or after Share "
                "Attention."
            ),
            search_aliases=[
                "style aligned",
                "shared attention",
                "consistent style",
                "rope",
                "untwisting rope",
                "shiftpe",
                "alignedgen",
                "content leakage",
            ],
            inputs=[
                io.Model.Input(
                    "model", tooltip="A transformer with rotary positions, with or without Share Attention."
                ),
                io.Combo.Input(
                    "positions",
                    options=list(PLACINGS),
                    default=PLACINGS[0],
                    tooltip="beside: the reference stands to the right of each image, as in AlignedGen. same: it lies "
                    "on the image; lower high_frequencies with it. none: it stands nowhere, so that likeness alone "
                    "decides what is taken.",
                ),
                io.Float.Input(
                    "high_frequencies",
                    default=1.0,
                    min=0.0,
                    max=4.0,
                    step=0.01,
                    tooltip="Multiplies those parts of the reference's keys that tell a place from the one next to it. "
                    "Below 1 less content is copied, as in Untwisting RoPE; 1 changes nothing.",
                ),
                io.Float.Input(
                    "low_frequencies",
                    default=1.0,
                    min=0.0,
                    max=4.0,
                    step=0.01,
                    tooltip="Multiplies those parts that say only roughly where something is. Above 1 more is taken "
                    "from the reference; 1 changes nothing.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The model, for Share Attention or a sampler.")],
        )

    @classmethod
    def execute(cls, model: Any, positions: str, high_frequencies: float, low_frequencies: float) -> io.NodeOutput:
        require_limits(cls, high_frequencies=high_frequencies, low_frequencies=low_frequencies)
        settings = ReferencePositions(positions, high_frequencies, low_frequencies)
        return io.NodeOutput(set_positions(model, settings))
