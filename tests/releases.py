"""Tests of what only newer releases of ComfyUI have."""

from __future__ import annotations

import pytest
from comfyui_version import __version__ as HOST


def since(release: str, what: str) -> pytest.MarkDecorator:
    """A mark for a test of `what`: skipped on hosts older than `release`, the first tested one that has it."""
    return pytest.mark.skipif(_numbers(HOST) < _numbers(release), reason=f"ComfyUI {HOST} has no {what}, {release} has")


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]
