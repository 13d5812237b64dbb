"""Tests in a real browser, on a real ComfyUI server that has the pack installed as users have it.

One server and one page serve them all. Screenshots go to output/browser/VERSION, which git ignores: look at them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright
from releases import HOST, MINIATURES

sys.path.insert(0, str(Path(__file__).parent))

from chromium import HOW_TO_GET_ONE, find, launch
from workbench import SIZE, Workbench

from devtools import ROOT
from devtools.comfyui.server import PACK_NAME, TOY_CHECKPOINT, Server, link_file, link_folder
from devtools.comfyui.workflow import set_widget, to_prompt
from devtools.pictures.thumbnails import WORKFLOWS, place_pictures, with_icon_model
from devtools.publishing.package import copy_tracked_files
from toy.control import write_checkpoint

PICTURES = ROOT / "output" / "browser" / HOST


@pytest.fixture(scope="package")
def chromium() -> Path:
    """The browser's executable; without one there is nothing to test, which in CI is a failure."""
    with sync_playwright() as playwright:
        executable = find(playwright)
    if executable is None and os.environ.get("CI"):
        pytest.fail(HOW_TO_GET_ONE)
    return executable or pytest.skip(HOW_TO_GET_ONE)


def install_pack(custom_nodes: Path) -> Path:
    """The tracked files less those that .comfyignore keeps from users, in a folder of their own, not a link."""
    installed = copy_tracked_files(custom_nodes / PACK_NAME)
    list_ignored = ["git", "ls-files", "--cached", "--ignored", "--exclude-from=.comfyignore", "-z"]
    ignored = subprocess.run(list_ignored, cwd=installed, capture_output=True, text=True, check=True).stdout
    for name in filter(None, ignored.split("\0")):
        (installed / name).unlink()
    return installed


def names_for(loader: str) -> set[str]:
    """The models that the workflows name in nodes of the kind `loader`, as files that a user has."""
    graphs = [json.loads(path.read_text(encoding="utf-8")) for path in WORKFLOWS.glob("*.json")]
    return {node["widgets_values"][0] for graph in graphs for node in graph["nodes"] if node["type"] == loader}


@pytest.fixture(scope="package")
def server(chromium: Path, comfyui_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """There are small models under the names in the workflows, so that these open as a user's do.

    The icon model stands for checkpoints, for transformers their miniatures.
    """
    base = tmp_path_factory.mktemp("base")
    install_pack(base / "custom_nodes")
    link_folder(MINIATURES, base / "custom_nodes" / MINIATURES.name)
    checkpoints = base / "models" / "checkpoints"
    checkpoints.mkdir(parents=True)
    for name in names_for("CheckpointLoaderSimple"):
        link_file(TOY_CHECKPOINT, checkpoints / name)
    control = write_checkpoint(base / "models" / "controlnet")
    for name in names_for("ControlNetLoader"):
        link_file(control, control.with_name(name))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OMP_NUM_THREADS", "1")
        previews = ["--preview-method", "auto"]
        with Server(comfyui_path, base, previews, pack=None, cpu=True) as server:
            place_pictures(server)
            keep_a_style(server)
            yield server


def keep_a_style(server: Server) -> None:
    """The file that one of the workflows continues: what another of them saves."""
    info = server.object_info()
    graph = with_icon_model(json.loads((WORKFLOWS / "save_style.json").read_text(encoding="utf-8")), info)
    server.run(to_prompt(set_widget(graph, "KSampler", "steps", 3, info), info))


@pytest.fixture(scope="package")
def browser(chromium: Path, server: Server) -> Iterator[Browser]:
    """Started after the server is ready, and ended with the folder: Playwright occupies this thread's event loop."""
    with sync_playwright() as playwright, launch(playwright, chromium) as browser:
        yield browser


@pytest.fixture(scope="package")
def _workbench(browser: Browser, server: Server) -> Iterator[Workbench]:
    width, height = SIZE
    with browser.new_context(viewport={"width": width, "height": height}, locale="en-US") as context:
        bench = Workbench(context.new_page(), server.url, PICTURES)
        bench.open()
        bench.draw_nodes_in_html(True)  # so that what nodes show can be found in the page
        yield bench


@pytest.fixture
def bench(_workbench: Workbench) -> Iterator[Workbench]:
    """The page with an empty graph; afterwards, no error was reported that the test did not take from `problems`."""
    _workbench.start_anew()
    yield _workbench
    problems, _workbench.problems = _workbench.problems, []
    assert not problems, "\n".join(problems)
