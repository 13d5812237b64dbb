"""The package on a real server, installed as users have it: the checkout is nowhere near."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from devtools.comfyui.server import PACK_NAME, Server
from devtools.comfyui.workflow import ObjectInfo, set_widget, to_prompt
from devtools.pictures.thumbnails import place_pictures, with_icon_model

SNAPSHOT = Path(__file__).resolve().parents[1] / "server" / "node_schemas.json"
NODES = sorted(json.loads(SNAPSHOT.read_text(encoding="utf-8")))

pytestmark = pytest.mark.thorough


def files_in(folder: Path) -> dict[str, bytes]:
    """All files but Python's own caches."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def server(comfyui_path: Path, base: Path, installed: Path) -> Iterator[Server]:
    before = files_in(installed)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OMP_NUM_THREADS", "1")
        server = Server(comfyui_path, base, pack=None, cpu=True)
        with server:
            place_pictures(server)
            yield server
    assert "Traceback" not in server.log_text()
    assert files_in(installed) == before


@pytest.fixture(scope="module")
def object_info(server: Server) -> ObjectInfo:
    return server.object_info()


def fetched(server: Server, path: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(server.url + path, timeout=60) as answer:
        return bytes(answer.read())


def test_it_is_the_package_that_is_loaded(server, installed, object_info):
    assert not installed.is_symlink()
    assert not {"tests", "toy", "devtools", "dev.py"} & {path.name for path in installed.iterdir()}
    assert "IMPORT FAILED" not in server.log_text()
    assert any(line.endswith(f": {installed}") for line in server.log_text().splitlines()), "its import time"
    from_package = [name for name, node in object_info.items() if PACK_NAME in node["python_module"]]
    assert sorted(from_package) == NODES


@pytest.mark.parametrize("node", NODES)
def test_a_node_has_its_help_page(server, installed, node):
    page = fetched(server, f"/extensions/{PACK_NAME}/docs/{node}.md")
    assert page == (installed / "web" / "docs" / f"{node}.md").read_bytes()


def test_the_browser_is_given_the_scripts(server, installed):
    scripts = {path.relative_to(installed / "web").as_posix() for path in (installed / "web").rglob("*.js")}
    given = [path for path in server.get("/extensions") if path.startswith(f"/extensions/{PACK_NAME}/")]
    assert {path.removeprefix(f"/extensions/{PACK_NAME}/") for path in given} == scripts
    assert scripts


@pytest.mark.parametrize("name", ["style_aligned_sd15", "style_from_image_inverted"])
def test_its_templates_draw_sets(server, installed, object_info, name):
    assert name in server.get("/api/workflow_templates")[PACK_NAME]
    graph = with_icon_model(json.loads((installed / "workflows" / f"{name}.json").read_text("utf-8")), object_info)
    graph = set_widget(graph, "KSampler", "steps", 3, object_info)
    if "StyleAlignedInvert" in {node["type"] for node in graph["nodes"]}:
        graph = set_widget(graph, "StyleAlignedInvert", "steps", 4, object_info)
    result = server.run(to_prompt(graph, object_info))
    pictures = [np.asarray(Image.open(path)) for paths in result.images.values() for path in paths]
    assert len(pictures) > 2
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)
    assert all(picture.std() > 2 for picture in pictures)
