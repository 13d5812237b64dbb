"""Every shipped workflow: found among the templates, opened large enough to be read, saved and opened again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from every_day import every_day
from playwright.sync_api import expect
from releases import skip_without_its_model
from workbench import APP, SIZE, Workbench

from devtools.comfyui.client import Client
from devtools.comfyui.workflow import Graph, to_prompt
from devtools.pictures.thumbnails import THUMBNAIL_SIZE, WORKFLOWS

NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
EVERY_DAY = ("reference_mixed", "save_style")
GRAPHS = [name for name in NAMES if not name.endswith(APP)]
SMALL_WINDOW = {"width": 1280, "height": 800}
WRITTEN = ("id", "type", "title", "pos", "mode", "widgets_values", "properties", "color", "bgcolor")


def shipped(name: str) -> Graph:
    return dict(json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8")))


def as_written(graph: Graph) -> dict[str, Any]:
    """What a workflow's author wrote, less the links: a browser counts an input's place among all of the node's."""
    nodes = [{key: node[key] for key in WRITTEN if key in node} for node in graph["nodes"]]
    groups = [(group["title"], *map(round, group["bounding"]), group["color"]) for group in graph["groups"]]
    return {"nodes": sorted(nodes, key=lambda node: node["id"]), "groups": groups}


def test_all_are_listed_with_their_thumbnails(bench):
    dialog = bench.templates()
    cards = dialog.locator("[data-testid^=template-workflow-]")
    expect(cards).to_have_count(len(NAMES))
    for name in NAMES:
        card = dialog.get_by_test_id(f"template-workflow-{name}")
        card.scroll_into_view_if_needed()  # pictures are not there before they are in sight
        picture = card.locator("img").first
        expect(picture).to_have_js_property("naturalWidth", THUMBNAIL_SIZE)
    bench.shot("templates")


@pytest.fixture
def small(bench: Workbench) -> Iterator[Workbench]:
    """The page in a window as large as a small laptop's."""
    bench.page.set_viewport_size(SMALL_WINDOW)
    yield bench
    bench.page.set_viewport_size({"width": SIZE[0], "height": SIZE[1]})


@pytest.mark.parametrize("name", every_day(GRAPHS, EVERY_DAY))
def test_opens_as_it_was_written(small, server: Client, name: str):
    bench = small
    skip_without_its_model(shipped(name), server.object_info())
    bench.open_template(name)
    expect(bench.overlay()).to_have_count(0)
    assert bench.names_are_drawn()
    assert not bench.overlaps()
    bench.shot(f"opened-{name}")
    graph = bench.graph()
    assert as_written(graph) == as_written(shipped(name))
    assert without_titles(bench.prompt()) == without_titles(to_prompt(shipped(name), server.object_info()))
    bench.reload_graph()
    assert as_written(bench.graph()) == as_written(graph)
    assert bench.graph()["nodes"] == graph["nodes"]


def test_can_be_read_on_the_canvas_too(small):
    small.draw_nodes_in_html(False)
    found = {}
    for name in NAMES:
        small.open_as_template({**shipped(name), "extra": {}}, name)
        found[name] = small.names_are_drawn(), small.overlaps()
    small.draw_nodes_in_html(True)
    assert found == dict.fromkeys(NAMES, (True, []))


def without_titles(prompt: dict[str, Any]) -> dict[str, Any]:
    return {node_id: {**node, "_meta": None} for node_id, node in prompt.items()}
