"""The ComfyUI that the pack is made for."""

from __future__ import annotations

import re

LOWEST = "0.24.0"
"""The oldest release on which all tests pass; pyproject.toml tells the registry the same."""


def require_release(version: str) -> None:
    """Raises RuntimeError where the host is older than the pack knows it."""
    if _numbers(version) < _numbers(LOWEST):
        raise RuntimeError(
            f"Style Aligned needs ComfyUI {LOWEST} or later and this is {version}. Update ComfyUI and start it again."
        )


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]
