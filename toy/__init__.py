"""Development only: lets a ComfyUI with this folder in `custom_nodes` load the icon model, `icons.safetensors`.

It adds no nodes. The host is imported when the host asks for the extension, so that `toy.icons` can be used without it.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfy_api.latest import ComfyExtension


async def comfy_entrypoint() -> "ComfyExtension":
    from .extension import IconExtension

    return IconExtension()
