"""What the host is given for this folder: a model class, a ControlNet among its models, and no nodes."""

from pathlib import Path

import folder_paths
from comfy_api.latest import ComfyExtension, io

from .control import write_checkpoint
from .model import register


class IconExtension(ComfyExtension):
    async def on_load(self) -> None:
        register()
        write_checkpoint(Path(folder_paths.get_folder_paths("controlnet")[0]))

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return []
