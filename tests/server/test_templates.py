"""The workflows in the browser's template list."""

from __future__ import annotations

import io
import json
import urllib.request

import pytest
from PIL import Image

from devtools.comfyui.server import PACK_NAME
from devtools.pictures.thumbnails import WORKFLOWS

NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))

FOLDERS = {
    "UNETLoader": "diffusion_models",
    "CLIPLoader": "text_encoders",
    "DualCLIPLoader": "text_encoders",
    "VAELoader": "vae",
}


def fetched(server, name: str) -> tuple[str, bytes]:
    """What the browser gets: content type and content."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{server.url}/api/workflow_templates/{PACK_NAME}/{name}", timeout=30) as answer:
        return answer.headers["Content-Type"], answer.read()


def test_every_workflow_is_listed(server):
    assert NAMES
    assert sorted(server.get("/api/workflow_templates")[PACK_NAME]) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_template_opens_as_a_graph_of_known_nodes(server, object_info, name):
    _, content = fetched(server, f"{name}.json")
    graph = json.loads(content)
    assert graph["version"] == 0.4
    frontend_only = {"MarkdownNote"}
    assert {node["type"] for node in graph["nodes"]} - frontend_only <= object_info.keys()


@pytest.mark.parametrize("name", NAMES)
def test_a_template_says_where_to_get_the_parts_of_its_model(name):
    """As the browser reads it, which offers to download what is missing: each loader's files, and where they belong."""
    graph = json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))
    [about] = [node["widgets_values"][0] for node in graph["nodes"] if node.get("title") == "About the model"] or [""]
    for node in graph["nodes"]:
        if folder := FOLDERS.get(node["type"]):
            models = node["properties"]["models"]
            assert {model["directory"] for model in models} == {folder}
            named = [value for value in node["widgets_values"] if value.endswith(".safetensors")]
            assert [model["name"] for model in models] == named
            for model in models:
                assert model["url"].startswith("https://huggingface.co/")
                assert model["url"].endswith(f"/{model['name']}")
                assert model["url"] in about


@pytest.mark.parametrize("name", NAMES)
def test_a_template_has_a_small_thumbnail(server, name):
    kind, content = fetched(server, f"{name}.jpg")
    assert kind == "image/jpeg"
    assert len(content) < 60_000
    picture = Image.open(io.BytesIO(content))
    assert picture.format == "JPEG"
    assert picture.size == (512, 512)
