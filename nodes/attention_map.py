"""StyleAlignedRecordAttention and StyleAlignedAttentionMap: where the images of a set look at their reference."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui
from torch import Tensor

from ..shared_attention.attention_map.asking import EVERYWHERE, MASK, POINT, asked_about, in_words
from ..shared_attention.attention_map.averaging import averaged
from ..shared_attention.attention_map.drawing import drawn
from ..shared_attention.attention_map.recording import AttentionRecord
from ..shared_attention.attention_map.showing import showing
from ..shared_attention.attention_map.wording import report, summary
from ..shared_attention.host.recorded_attention import record_attention
from ..shared_attention.layers import LayerSelection
from ..shared_attention.report.pictures import as_pictures
from .limits import require_limits
from .sockets import StyleAttention

_ALIASES = [
    "style aligned",
    "shared attention",
    "consistent style",
    "style set",
    "attention map",
    "attention heatmap",
    "visualize attention",
    "style leakage",
]


class StyleAlignedRecordAttention(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAlignedRecordAttention",
            display_name="Style Aligned: Record Attention",
            category="Style Aligned",
            description=(
                "Records where the images of a set look at their reference while they are sampled, for Attention Map. "
                "Before or after Share Attention; for all models."
            ),
            search_aliases=_ALIASES,
            inputs=[
                io.Model.Input("model", tooltip="The model, with or without Share Attention."),
                io.Int.Input(
                    "steps",
                    default=4,
                    min=1,
                    max=10000,
                    tooltip="How many of the sampling steps are looked at, evenly spread. More of them tell the early "
                    "from the late better and take longer.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The model, for Share Attention or a sampler."),
                StyleAttention.Output(display_name="attention", tooltip="What is recorded, for Attention Map."),
            ],
        )

    @classmethod
    def execute(cls, model: Any, steps: int) -> io.NodeOutput:
        require_limits(cls, steps=steps)
        record = AttentionRecord(steps)
        return io.NodeOutput(record_attention(model, record), record)


class StyleAlignedAttentionMap(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAlignedAttentionMap",
            display_name="Style Aligned: Attention Map",
            category="Style Aligned",
            description=(
                "Shows how much of the reference each image took, and where: a heat map over every image, and the "
                "places of the reference that it, a point of it or a part of it looked at."
            ),
            search_aliases=_ALIASES,
            inputs=[
                StyleAttention.Input("attention", tooltip="From Record Attention, whose model the sampler has."),
                io.Image.Input(
                    "images", tooltip="All the images of that sampler, the reference's too where it is the first."
                ),
                io.Image.Input(
                    "references",
                    optional=True,
                    tooltip="The pictures of references that are not in the batch, in the order of their nodes. "
                    "Without them their maps are shown on grey.",
                ),
                io.Combo.Input(
                    "look_up",
                    options=[EVERYWHERE, POINT, MASK],
                    default=EVERYWHERE,
                    tooltip="What part of the images you ask about: where did it look on the reference?",
                ),
                io.Float.Input(
                    "x",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Of the point, from the left border (0) to the right one (1).",
                ),
                io.Float.Input(
                    "y",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Of the point, from the top (0) to the bottom (1).",
                ),
                io.Mask.Input(
                    "mask", optional=True, tooltip="The part of the images that you ask about, white; of any size."
                ),
                io.String.Input(
                    "blocks",
                    default="",
                    advanced=True,
                    tooltip="The blocks that are averaged, such as: input.4-8, middle or double.0-18. Empty for all "
                    "that share.",
                ),
                io.Float.Input(
                    "start_percent",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    advanced=True,
                    tooltip="Only steps from here on: 0 is the first.",
                ),
                io.Float.Input(
                    "end_percent",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    advanced=True,
                    tooltip="Only steps up to here: 1 is the last.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="picture", tooltip="The maps with their scales, to save or preview."),
                io.String.Output(display_name="report", tooltip="All numbers as text, also by block and by step."),
                io.Mask.Output(
                    display_name="maps",
                    tooltip="The share of the attention that goes to the reference, 0 to 1, one map for each image "
                    "that takes on the style.",
                ),
            ],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, blocks: str | None = None) -> bool | str:
        """Refuses bad words before anything runs."""
        try:
            LayerSelection.parse(blocks or "")
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(
        cls,
        attention: AttentionRecord,
        images: Tensor,
        look_up: str,
        x: float,
        y: float,
        blocks: str,
        start_percent: float,
        end_percent: float,
        references: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        require_limits(cls, x=x, y=y, start_percent=start_percent, end_percent=end_percent)
        pictures = as_pictures(images, "images")
        run = attention.run_of(len(pictures))
        averages = averaged(run, LayerSelection.parse(blocks).or_default(""), start_percent, end_percent)
        asked = asked_about(look_up, (x, y), mask, (int(pictures.shape[1]), int(pictures.shape[2])))
        beside = None if references is None else as_pictures(references, "references")
        shown = showing(run, averages, pictures, beside, asked, in_words(look_up, (x, y)))
        picture, text = drawn(shown, summary(averages)), report(averages, shown)
        seen = ui.PreviewImage(picture, cls=cls).as_dict()
        return io.NodeOutput(picture, text, shown.maps(), ui={**seen, "text": (text,)})
