"""A ComfyUI that is too old is refused when the pack is loaded, in words that its log shows."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import comfyui_version
import pytest
import style_aligned
from style_aligned.shared_attention.host.release import LOWEST, require_release

from devtools.comfyui.fetch import RELEASES

ROOT = Path(__file__).resolve().parents[2]


def test_an_older_host_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(comfyui_version, "__version__", "0.23.9")
    with pytest.raises(RuntimeError, match=r"needs ComfyUI 0\.24\.0 or later and this is 0\.23\.9\. Update ComfyUI"):
        asyncio.run(style_aligned.comfy_entrypoint())


def test_this_host_is_welcome():
    extension = asyncio.run(style_aligned.comfy_entrypoint())
    assert len(asyncio.run(extension.get_node_list())) >= 6


@pytest.mark.parametrize("version", ["0.3.76", "0.9.100", "0.16.3", "0.23.9", "0.24"])
def test_what_is_older(version: str):
    with pytest.raises(RuntimeError, match=f"this is {re.escape(version)}"):
        require_release(version)


@pytest.mark.parametrize("version", [LOWEST, "0.24.0-rc1", "0.24.10", "0.100.0", "1.0"])
def test_what_is_not(version: str):
    require_release(version)


def test_the_oldest_tested_release_is_the_one_that_the_registry_is_told():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.findall(r'^requires-comfyui = "(.*)"$', project, re.MULTILINE) == [f">={LOWEST}"]
    assert min(RELEASES, key=lambda version: [int(part) for part in version.split(".")]) == LOWEST
