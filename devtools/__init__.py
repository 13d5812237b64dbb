"""Programs for working on the pack: none of them is needed to use it in ComfyUI."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The checkout."""
