"""Style Aligned for ComfyUI: every image of a batch takes on the style of the first (arXiv 2312.02133)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfy_api.latest import ComfyExtension

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> ComfyExtension:
    from comfyui_version import __version__

    from .shared_attention.host.release import require_release

    require_release(__version__)  # before anything that an older host may lack
    from .nodes import StyleAlignedExtension

    return StyleAlignedExtension()
