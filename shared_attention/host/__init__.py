"""The method attached to ComfyUI: the only modules of this package that import it."""
