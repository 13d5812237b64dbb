"""The folder may have any name: that of whoever cloned it, one of before the pack's name was chosen included."""

from __future__ import annotations

import urllib.parse
import urllib.request

import pytest

from devtools.comfyui.server import ROOT, Server, link_folder

NAMES = ["comfyui-style-aligned", "my_style_aligned"]


@pytest.fixture(scope="module")
def server(comfyui_path, tmp_path_factory):
    base = tmp_path_factory.mktemp("renamed")
    (base / "custom_nodes").mkdir()
    for name in NAMES:
        link_folder(ROOT, base / "custom_nodes" / name)
    with Server(comfyui_path, base, cpu=True, pack=None, with_toy=False) as server:
        yield server


def fetched(server, path: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{server.url}/{urllib.parse.quote(path)}", timeout=30) as answer:
        return answer.read()


def test_the_nodes_are_there_once(server):
    modules = {node["python_module"] for key, node in server.object_info().items() if key.startswith("StyleAligned")}
    assert len(modules) == 1
    assert modules <= {f"custom_nodes.{name}" for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_what_the_browser_asks_for_is_there(server, name):
    assert "style_aligned_sd15" in server.get("/api/workflow_templates")[name]
    for path in ("docs/StyleAlignedShareAttention.md", "js/style_files.js"):
        assert fetched(server, f"extensions/{name}/{path}")
