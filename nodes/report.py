"""StyleAlignedReport: how well a set holds one style, in numbers."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from comfy_api.latest import io, ui

from ..shared_attention.host.vision import see
from ..shared_attention.report.drawing import drawn
from ..shared_attention.report.measure import measure
from ..shared_attention.report.pictures import as_pictures
from ..shared_attention.report.wording import report


class StyleAlignedReport(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAlignedReport",
            display_name="Style Aligned: Report",
            category="Style Aligned",
            description=(
                "Measures how well a set of pictures holds one style: palette, texture and contrast, how much of the "
                "reference's composition is copied, which picture falls out; with a vision model also style and "
                "content. Two sets are compared side by side."
            ),
            search_aliases=[
                "style aligned",
                "consistent style",
                "style set",
                "shared attention",
                "style similarity",
                "compare images",
                "image metrics",
                "palette distance",
                "clip score",
                "evaluate",
            ],
            inputs=[
                io.Image.Input(
                    "images", tooltip="The set. Without a reference of its own, the first is the reference."
                ),
                io.Image.Input(
                    "reference",
                    optional=True,
                    tooltip="The reference's picture, if it is not the first of the set: one picture, of any size.",
                ),
                io.Image.Input(
                    "compared_with",
                    optional=True,
                    tooltip="A second set, drawn with other settings, to be shown beside the first. Its reference is "
                    "the same, or its own first picture where none is connected.",
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="A vision model from Load CLIP Vision, such as CLIP, SigLIP or DINO: it adds the "
                    "similarity of style and of content. Without it the report takes about a second.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="picture", tooltip="The pictures with their numbers, to save or preview."),
                io.String.Output(display_name="report", tooltip="All numbers as text; of a small set, every pair's."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        images: torch.Tensor,
        reference: torch.Tensor | None = None,
        compared_with: torch.Tensor | None = None,
        clip_vision: Any = None,
    ) -> io.NodeOutput:
        given = {"images": images, "compared_with": compared_with}
        sets = {name: as_pictures(batch, name) for name, batch in given.items() if batch is not None}
        apart = None if reference is None else as_pictures(reference, "reference")
        eyes = None if clip_vision is None else partial(see, clip_vision)
        measured = [measure(name, pictures, apart, eyes) for name, pictures in sets.items()]
        picture, text = drawn(measured), report(measured)
        shown = ui.PreviewImage(picture, cls=cls).as_dict()
        return io.NodeOutput(picture, text, ui={**shown, "text": (text,)})
