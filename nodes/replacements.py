"""Graphs saved with style_aligned_comfy, an older pack for the same paper: which nodes take the place of its nodes.

ComfyUI offers to put them in where that pack is missing. Its inputs carry over where they mean the same:
- `share_norm` chose a word; here a switch shares group norms. It is turned on, as it was by default there.
- What a sampler had as inputs stays with a sampler of ComfyUI's own, which has to be added behind Reference Latent.
"""

from __future__ import annotations

import logging
from typing import Any

from comfy_api.latest import ComfyAPI, io

_SEED = ("noise_seed", "control_after_generate")
"""The second value is the browser's own, behind every seed."""


def _same(*pairs: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"old_id": old, "new_id": new} for old, new in pairs]


def replacements() -> list[io.NodeReplace]:
    return [
        io.NodeReplace(
            old_node_id="StyleAlignedBatchAlign",
            new_node_id="StyleAlignedShareAttention",
            old_widget_ids=["share_norm", "share_attn", "scale"],
            input_mapping=[
                *_same(("model", "model"), ("scale", "scale")),
                {"new_id": "share_group_norm", "set_value": True},
                *_defaults(),
            ],
            output_mapping=[{"old_idx": 0, "new_idx": 0}],
        ),
        io.NodeReplace(
            old_node_id="StyleAlignedSampleReferenceLatents",
            new_node_id="StyleAlignedInvert",
            old_widget_ids=[*_SEED, "cfg"],
            input_mapping=[
                *_same(("model", "model"), ("positive", "positive"), ("negative", "negative")),
                *_same(("latent_image", "latent"), ("cfg", "cfg")),
                {"new_id": "steps", "set_value": 50},
            ],
            output_mapping=[{"old_idx": 0, "new_idx": 0}],
        ),
        io.NodeReplace(
            old_node_id="StyleAlignedReferenceSampler",
            new_node_id="StyleAlignedReferenceLatent",
            old_widget_ids=["share_norm", "share_attn", "scale", "batch_size", *_SEED, "cfg"],
            input_mapping=[
                *_same(("model", "model"), ("batch_size", "targets"), ("ref_latents", "trajectory")),
                {"new_id": "start_from", "set_value": "noise"},
            ],
            # Its outputs were finished pictures. Left unconnected, ComfyUI says so until there is a sampler.
            output_mapping=[],
        ),
    ]


def _defaults() -> list[dict[str, Any]]:
    """The required inputs of Share Attention that have no counterpart: a prompt over the API needs them too."""
    from .share_attention import StyleAlignedShareAttention

    schema = StyleAlignedShareAttention.define_schema()
    carried = {"model", "scale", "share_group_norm"}
    return [
        {"new_id": each.id, "set_value": each.default}
        for each in schema.inputs
        if each.id not in carried and isinstance(each, io.WidgetInput)
    ]


async def offer_replacements() -> None:
    """Registers them unless that pack is there; call it when all packs are loaded."""
    import nodes

    offers = replacements()
    if nodes.NODE_CLASS_MAPPINGS.keys().isdisjoint(each.old_node_id for each in offers):
        for each in offers:
            await ComfyAPI().node_replacement.register(each)


def offer_replacements_when_all_is_loaded() -> None:
    """Packs load one by one in no given order, and the server starts after the last: that moment is the right one."""
    from server import PromptServer

    server = getattr(PromptServer, "instance", None)
    if server is None:
        return  # not run as a server

    async def on_startup(_app: Any) -> None:
        try:
            await offer_replacements()
        except Exception:  # an offer is not worth a server that does not start
            logging.exception("Style Aligned: nodes of style_aligned_comfy cannot be replaced")

    server.app.on_startup.append(on_startup)
