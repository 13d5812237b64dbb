"""StyleAlignedShareAttention: a model whose batches share the style of their first image."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..shared_attention.host.attention import SharedAttention, share_attention
from ..shared_attention.layers import LayerSelection
from ..shared_attention.schedule import SamplingRange
from ..shared_attention.sharing import SharingSettings
from .limits import require_limits


class StyleAlignedShareAttention(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAlignedShareAttention",
            display_name="Style Aligned: Share Attention",
            category="Style Aligned",
            description=(
                "Every image of a batch takes on the style of the first one: the others' self-attention also sees the "
                "first image. Works with Stable Diffusion, Flux, Qwen-Image, Z-Image and other image models, and with "
                "every sampler and scheduler."
            ),
            search_aliases=[
                "style aligned",
                "shared attention",
                "consistent style",
                "style consistency",
                "style reference",
                "sref",
                "style set",
                "style transfer",
                "visual style prompting",
                "reference only",
                "alignedgen",
                "consistent characters",
            ],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="A Stable Diffusion model (SD 1.x to SD 3.5, SDXL), or a transformer such as Flux, "
                    "Qwen-Image, Z-Image or Krea 2.",
                ),
                io.Float.Input(
                    "scale",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.01,
                    tooltip="Multiplies the reference's keys (the paper's shared_score_scale): how sharply the images "
                    "pick what they take from the reference. Lower it towards 0.5 when they copy its content.",
                ),
                io.Float.Input(
                    "shift",
                    default=0.0,
                    min=-10.0,
                    max=10.0,
                    step=0.01,
                    tooltip="Added to the attention logits of the reference (the paper's shared_score_shift). Above 0 "
                    "the style is stronger: 0.69 (ln 2) counts the reference twice. Below 0 it is weaker.",
                ),
                io.Boolean.Input(
                    "share_group_norm",
                    default=False,
                    tooltip="Take the statistics of group norms over each image and the reference together: a stronger "
                    "match of contrast and backdrops, with a shift. The authors use it for style from an image and "
                    "panoramas. Transformers have no group norms.",
                ),
                io.Boolean.Input(
                    "adain_queries",
                    default=True,
                    advanced=True,
                    tooltip="Give the queries the reference's mean and spread. On in the paper.",
                ),
                io.Boolean.Input(
                    "adain_keys",
                    default=True,
                    advanced=True,
                    tooltip="Give the keys the reference's mean and spread, so that the images attend to the reference "
                    "as readily as to themselves. On in the paper.",
                ),
                io.Boolean.Input(
                    "adain_values",
                    default=False,
                    advanced=True,
                    tooltip="Give the values the reference's mean and spread too: stronger, less varied. Off in the "
                    "paper.",
                ),
                io.Float.Input(
                    "start_percent",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    advanced=True,
                    tooltip="Where in the sampling process sharing starts: 0 is the first step.",
                ),
                io.Float.Input(
                    "end_percent",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    advanced=True,
                    tooltip="Where in the sampling process sharing ends: 1 is the last step.",
                ),
                io.String.Input(
                    "blocks",
                    default="",
                    advanced=True,
                    tooltip="The blocks that share, such as: input.4-8, middle, output.0-5 in a UNet, or double.0-18, "
                    "single in Flux. Empty for those that the method's authors share, in a UNet all of them; all for "
                    "every block.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How much of the reference's style the images take on, from nothing (0, as without the "
                    "node) to all of it (1). The first knob to turn when the style is too strong.",
                ),
                io.Boolean.Input(
                    "reference_without_control",
                    default=False,
                    advanced=True,
                    tooltip="Keep ControlNet away from the reference, as the paper's code does: hints shape the other "
                    "images only. With Reference and Reference Latent it is so in any case.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The model, for any sampler.")],
        )

    @classmethod
    def validate_inputs(
        cls, blocks: str | None = None, start_percent: float | None = None, end_percent: float | None = None
    ) -> bool | str:
        """Refuses bad values before anything runs; those that come over a connection are None here, checked later."""
        try:
            LayerSelection.parse(blocks or "")
            # Over the API a value may be anything; of what is no number the host itself says so.
            start = start_percent if isinstance(start_percent, int | float) else 0.0
            SamplingRange(start, end_percent if isinstance(end_percent, int | float) else 1.0)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(
        cls,
        model: Any,
        scale: float,
        shift: float,
        share_group_norm: bool,
        adain_queries: bool,
        adain_keys: bool,
        adain_values: bool,
        start_percent: float,
        end_percent: float,
        blocks: str,
        strength: float = 1.0,
        reference_without_control: bool = False,
    ) -> io.NodeOutput:
        require_limits(cls, scale=scale, shift=shift, strength=strength)
        settings = SharingSettings(scale, shift, share_group_norm, adain_queries, adain_keys, adain_values, strength)
        sampling_range = SamplingRange(start_percent, end_percent)
        sharing = SharedAttention(settings, LayerSelection.parse(blocks), sampling_range, reference_without_control)
        return io.NodeOutput(share_attention(model, sharing))
