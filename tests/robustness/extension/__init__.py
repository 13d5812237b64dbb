"""For tests only: nodes that let a real server sample tiny random models, get into trouble, and look for what is left.

ComfyUI loads it from `custom_nodes` like any extension; `devtools.fuzz` links it there.
"""

from .nodes import comfy_entrypoint

__all__ = ["comfy_entrypoint"]
