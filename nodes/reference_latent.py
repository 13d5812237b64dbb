"""StyleAlignedReferenceLatent: a given image as the reference of a batch."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..shared_attention.host.recorded_path import RecordedPath, matching_trajectory
from ..shared_attention.host.reference_latent import one_image
from ..shared_attention.host.row.batch import batch_from_noise, batch_from_pictures, batch_from_reference
from ..shared_attention.host.row.holding import ReferenceRow, hold_reference
from ..shared_attention.trajectory import Trajectory
from .limits import require_limits
from .sockets import StyleTrajectory

FROM_NOISE, FROM_REFERENCE = "noise", "reference"


class StyleAlignedReferenceLatent(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAlignedReferenceLatent",
            display_name="Style Aligned: Reference Latent",
            category="Style Aligned",
            description=(
                "A picture of yours becomes the first image of the batch, whose style Share Attention gives to the "
                "others. Connect both outputs to any sampler; the first prompt describes the picture."
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
                "image to image",
                "img2img",
                "restyle",
            ],
            inputs=[
                io.Model.Input("model", tooltip="The model, before or after Share Attention."),
                io.Latent.Input("reference", tooltip="The latent of one picture, from VAE Encode."),
                io.Int.Input(
                    "targets",
                    default=3,
                    min=1,
                    max=4095,
                    tooltip="How many images to make besides the reference: the prompts less the first one. With "
                    "pictures connected their number counts instead.",
                ),
                io.Combo.Input(
                    "start_from",
                    options=[FROM_NOISE, FROM_REFERENCE],
                    default=FROM_NOISE,
                    tooltip="noise: new images. reference: rework the picture itself, with the sampler's denoise as "
                    "the strength.",
                ),
                StyleTrajectory.Input(
                    "trajectory",
                    optional=True,
                    tooltip="From Invert or Record: the reference follows the picture's own path. Without it the "
                    "reference is the picture with one fixed noise, which costs no model calls.",
                ),
                io.Int.Input(
                    "offset",
                    default=0,
                    min=0,
                    max=1000,
                    optional=True,
                    advanced=True,
                    tooltip="With a trajectory: how many of its steps cleaner the reference is shown at the start. The "
                    "paper's code uses 5 of 50.",
                ),
                io.Latent.Input(
                    "pictures",
                    optional=True,
                    tooltip="Pictures of yours to bring into the reference's style, as many as you like, of its size. "
                    "The sampler's denoise is how much they change. targets and start_from are not used then: there "
                    "are as many targets as pictures.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The model, for any sampler."),
                io.Latent.Output(
                    display_name="latent", tooltip="The batch to sample: the reference first, then the targets."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        reference: dict[str, Any],
        targets: int,
        start_from: str,
        trajectory: Trajectory | RecordedPath | None = None,
        offset: int = 0,
        pictures: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        if targets != 0:  # a set of one prompt has none, and is the reference alone
            require_limits(cls, targets=targets)
        require_limits(cls, offset=offset)
        samples = one_image(model, reference)
        path = matching_trajectory(model, samples, trajectory)
        if path is None and offset > 0:
            raise ValueError(
                f"offset is {offset} and needs a trajectory: connect Style Aligned: Invert, or set offset to 0."
            )
        if pictures is not None:
            latent = batch_from_pictures(model, samples, pictures)
        elif start_from == FROM_REFERENCE:
            latent = batch_from_reference(reference, samples, targets)
        else:
            latent = batch_from_noise(model, samples, targets)
        row = ReferenceRow(samples, path, offset, latent["batch_index"][1:])
        return io.NodeOutput(hold_reference(model, row), latent)
