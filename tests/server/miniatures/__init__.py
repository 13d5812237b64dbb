"""For tests only: the models that the workflows for transformers name, in miniature, for the host's own loaders.

ComfyUI loads it from `custom_nodes` like any extension. It adds no nodes: it writes the checkpoints, of random weights,
into the server's models folder, under the names that the workflows have, and lets the host take their small sizes where
it knows the published model's only. The tokenizers, vocabularies, classes and loaders are the host's.
"""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import diffusion_models, text_encoders
from .checkpoints import write_all


class MiniatureExtension(ComfyExtension):
    async def on_load(self) -> None:
        diffusion_models.register()
        text_encoders.register()
        write_all()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return []


async def comfy_entrypoint() -> MiniatureExtension:
    return MiniatureExtension()
