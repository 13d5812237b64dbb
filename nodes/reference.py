"""StyleAlignedReference: a style reference that takes no place in the batch."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..shared_attention.host.apart.memory import require_positions
from ..shared_attention.host.apart.references import Reference, add_reference
from ..shared_attention.host.recorded_path import RecordedPath, matching_trajectory
from ..shared_attention.host.reference_latent import one_image
from ..shared_attention.keeping import THINNINGS, Keeping
from ..shared_attention.masks import read_style_mask
from ..shared_attention.trajectory import Trajectory
from .limits import require_limits
from .sockets import StyleTrajectory

AS_COMPUTED, IN_HALF, ON_CPU = "as computed", "half precision", "half precision, on the CPU"


class StyleAlignedReference(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAlignedReference",
            display_name="Style Aligned: Reference",
            category="Style Aligned",
            description=(
                "Everything that is sampled with this model takes on the style of a picture that has no place in the "
                "batch: any size, any number of images, any graph. Chain it for several pictures. The model needs "
                "Share Attention too, before or after it."
            ),
            search_aliases=[
                "style aligned",
                "shared attention",
                "consistent style",
                "style from image",
                "style reference",
                "sref",
                "style transfer",
                "reference only",
                "reference image",
                "style mix",
                "visual style prompting",
                "ip-adapter style",
                "ipadapter style transfer",
                "redux",
                "style model",
            ],
            inputs=[
                io.Model.Input("model", tooltip="The model, before or after Share Attention."),
                io.Latent.Input(
                    "reference",
                    tooltip="The latent of one picture, from VAE Encode or Load Style. Its size need not be that of "
                    "the images.",
                ),
                io.Conditioning.Input(
                    "conditioning",
                    optional=True,
                    tooltip="The prompt that describes the picture: what it shows and its style. Unconnected it is "
                    "zeros, which is an empty prompt for SDXL; other models do better with a prompt.",
                ),
                io.Conditioning.Input(
                    "negative",
                    optional=True,
                    tooltip="The picture's negative prompt. Unconnected it is the one that the images have.",
                ),
                StyleTrajectory.Input(
                    "trajectory",
                    optional=True,
                    tooltip="From Invert or Record: the picture's own path through the noise levels. Without it the "
                    "picture has one fixed noise, which costs no model calls.",
                ),
                io.Float.Input(
                    "weight",
                    default=1.0,
                    min=0.0,
                    max=4.0,
                    step=0.01,
                    tooltip="How much this picture counts beside other references: 2 as if it were there twice, 0 not "
                    "at all. Its size makes no difference.",
                ),
                io.Combo.Input(
                    "thin",
                    options=list(THINNINGS),
                    default="all",
                    optional=True,
                    advanced=True,
                    tooltip="The part of the picture's tokens that images attend to: fewer cost less time and memory. "
                    "They count for all of them.",
                ),
                io.Combo.Input(
                    "memory",
                    options=[AS_COMPUTED, IN_HALF, ON_CPU],
                    default=AS_COMPUTED,
                    optional=True,
                    advanced=True,
                    tooltip="How the picture's keys and values are kept during a step. Half precision changes a model "
                    "in float32 only; on the CPU they take no GPU memory and a copy in every layer.",
                ),
                io.Mask.Input(
                    "style_mask",
                    optional=True,
                    tooltip="The part of this picture that gives its style: white is taken, black left out, grey "
                    "counts by so much. Any size: it is stretched over the picture.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The model, for any sampler or another Reference.")],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        reference: dict[str, Any],
        conditioning: list[list[Any]] | None = None,
        negative: list[list[Any]] | None = None,
        trajectory: Trajectory | RecordedPath | None = None,
        weight: float = 1.0,
        thin: str = "all",
        memory: str = AS_COMPUTED,
        style_mask: Tensor | None = None,
    ) -> io.NodeOutput:
        require_limits(cls, weight=weight)
        samples = one_image(model, reference)
        path = matching_trajectory(model, samples, trajectory)
        keeping = Keeping(THINNINGS[thin], memory != AS_COMPUTED, memory == ON_CPU)
        given = Reference(samples, conditioning, negative, path, weight, keeping, read_style_mask(style_mask))
        require_positions(model, given)
        return io.NodeOutput(add_reference(model, given))
