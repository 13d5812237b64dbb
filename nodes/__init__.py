"""The nodes: schema and validation; the method itself is in `shared_attention`."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .prompts import StyleAlignedPrompts
from .reference_latent import StyleAlignedReferenceLatent
from .share_attention import StyleAlignedShareAttention


class StyleAlignedExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [StyleAlignedShareAttention, StyleAlignedPrompts, StyleAlignedReferenceLatent]
