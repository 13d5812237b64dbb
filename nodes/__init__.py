"""The nodes: schema and validation; the method itself is in `shared_attention`."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from ..shared_attention.host import style_folder
from .attention_map import StyleAlignedAttentionMap, StyleAlignedRecordAttention
from .invert import StyleAlignedInvert
from .masks import StyleAlignedMasks
from .positions import StyleAlignedPositions
from .prompts import StyleAlignedPrompts
from .record import StyleAlignedRecord
from .reference import StyleAlignedReference
from .reference_latent import StyleAlignedReferenceLatent
from .replacements import offer_replacements_when_all_is_loaded
from .report import StyleAlignedReport
from .share_attention import StyleAlignedShareAttention
from .style_files import StyleAlignedLoadStyle, StyleAlignedSaveStyle


class StyleAlignedExtension(ComfyExtension):
    async def on_load(self) -> None:
        style_folder.register()
        offer_replacements_when_all_is_loaded()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            StyleAlignedShareAttention,
            StyleAlignedPrompts,
            StyleAlignedReferenceLatent,
            StyleAlignedInvert,
            StyleAlignedSaveStyle,
            StyleAlignedLoadStyle,
            StyleAlignedPositions,
            StyleAlignedReference,
            StyleAlignedRecord,
            StyleAlignedReport,
            StyleAlignedMasks,
            StyleAlignedRecordAttention,
            StyleAlignedAttentionMap,
        ]
