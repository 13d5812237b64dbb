"""StyleAlignedRecord: the path of an image while it is sampled, for it to be a reference later."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..shared_attention.host.recorded_path import record_path
from .sockets import StyleTrajectory


class StyleAlignedRecord(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAlignedRecord",
            display_name="Style Aligned: Record",
            category="Style Aligned",
            description=(
                "Records the path of the first image that is sampled with the model, so that it can be the reference "
                "of more images later: they come out as they would have in one batch with it. Connect the trajectory, "
                "and the latent of that sampler, to Reference."
            ),
            search_aliases=[
                "style aligned",
                "shared attention",
                "consistent style",
                "style set",
                "trajectory",
                "long set",
                "one by one",
            ],
            inputs=[io.Model.Input("model", tooltip="The model, before or after Share Attention.")],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The model, for the sampler of the reference."),
                StyleTrajectory.Output(
                    display_name="trajectory",
                    tooltip="The path of what the sampler makes, for Reference, Reference Latent or Save Style; they "
                    "need the sampler's latent too.",
                ),
            ],
        )

    @classmethod
    def execute(cls, model: Any) -> io.NodeOutput:
        return io.NodeOutput(*record_path(model))
