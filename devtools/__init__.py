"""Programs for working on the pack: none of them is needed to use it in ComfyUI."""
