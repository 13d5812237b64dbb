"""What the host is given for this folder: a model class, and no nodes."""

from comfy_api.latest import ComfyExtension, io

from .model import register


class IconExtension(ComfyExtension):
    async def on_load(self) -> None:
        register()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return []
