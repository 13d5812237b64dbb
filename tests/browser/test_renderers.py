"""Both ways in which the host draws nodes, on one canvas or as elements of the page: what the pack adds works in both.

Elsewhere nodes are elements, which can be found in the page. On the canvas are also the newcomer's path, with a
message, and how templates open.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect
from test_messages import SHARING
from test_runs import SAVED
from workbench import FOR_ICONS, Workbench

from devtools.comfyui.server import Server

KEPT = "gingerbread_00001_"
LOADING, SAVING = "StyleAlignedLoadStyle", "StyleAlignedSaveStyle"
SET = 4
"""How many pictures the template draws."""

NAME_STARTS = """start => app.graph.nodes[0].widgets.find(({ name }) => name === "name").value.startsWith(start)"""
NOTE_TEXTS = """() => {
  window.texts = [];
  const context = app.canvas.ctx;
  context.fillText = function (text) {
    window.texts.push(String(text));
    return CanvasRenderingContext2D.prototype.fillText.apply(this, arguments);
  };
}"""
PICTURES_ARE_THERE = """wanted => app.graph.nodes.find(({ type }) => type === "SaveImage").imgs?.length === wanted"""


@pytest.fixture(params=[False, True], ids=["canvas", "html"])
def drawn(bench: Workbench, request: pytest.FixtureRequest) -> Iterator[Workbench]:
    bench.draw_nodes_in_html(request.param)
    yield bench
    bench.draw_nodes_in_html(True)


def press(bench: Workbench, node_type: str, widget: str, role: str) -> None:
    """Click on a widget, as a user does; in HTML it is the node's one element with that role."""
    if bench.in_html:
        [node_id] = bench.nodes(node_type)
        bench.node(node_id).get_by_role(role, name=widget if role == "button" else None).click()
    else:
        bench.click_on_canvas(node_type, widget)


def assert_shown(bench: Workbench, node_type: str, start: str) -> None:
    """A node shows a text that starts so."""
    if bench.in_html:
        [node_id] = bench.nodes(node_type)
        expect(bench.node(node_id)).to_contain_text(start)
    else:
        bench.page.wait_for_function("start => window.texts.some((text) => text.startsWith(start))", arg=start)


def test_a_widget_can_be_set(drawn):
    drawn.add_node(SHARING)
    press(drawn, SHARING, "share_group_norm", "switch")
    assert drawn.value(SHARING, "share_group_norm") is True
    [sharing] = drawn.prompt().values()
    assert sharing["inputs"]["share_group_norm"] is True
    drawn.shot(f"set-{'html' if drawn.in_html else 'canvas'}")


def test_load_style_takes_a_file(drawn, server: Server, tmp_path: Path):
    file = tmp_path / "uploaded.safetensors"
    file.write_bytes((server.base / "output" / "style_references" / f"{KEPT}.safetensors").read_bytes())
    drawn.page.evaluate(NOTE_TEXTS)
    drawn.add_node(LOADING)
    with drawn.page.expect_file_chooser() as chooser:
        press(drawn, LOADING, "upload", "button")
    chooser.value.set_files(file)
    drawn.page.wait_for_function(NAME_STARTS, arg=file.stem)
    assert_shown(drawn, LOADING, file.stem)
    name = drawn.value(LOADING, "name")
    uploaded = server.base / "input" / "style_references" / name
    assert uploaded.read_bytes() == file.read_bytes()
    [loading] = drawn.prompt().values()
    assert loading["inputs"] == {"name": name}
    drawn.shot(f"uploaded-{'html' if drawn.in_html else 'canvas'}")
    uploaded.unlink()


def test_a_set_is_drawn_and_its_style_saved_on_the_canvas(bench):
    """In HTML each template is run by another test."""
    bench.draw_nodes_in_html(False)
    bench.page.evaluate(NOTE_TEXTS)
    bench.open_template("save_style")
    bench.set_values(FOR_ICONS)
    assert bench.run()["kind"] == "execution_success"
    assert SAVED.match(bench.value(SAVING, "saved"))
    assert_shown(bench, SAVING, SAVED.pattern[:7])
    bench.page.wait_for_function(PICTURES_ARE_THERE, arg=SET)
    overlaps = bench.overlaps()
    bench.shot("drawn-on-canvas")
    bench.draw_nodes_in_html(True)
    assert not overlaps
