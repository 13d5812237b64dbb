"""Each blueprint: found in the search, added as one node with its settings on it, and run."""

from __future__ import annotations

import pytest
from blueprints import CONTINUING, NAMES, around, blueprint
from every_day import every_day
from playwright.sync_api import expect
from test_nodes import search
from workbench import STEPS

from devtools.comfyui.subgraphs import expand
from devtools.comfyui.workflow import to_prompt
from devtools.pictures.thumbnails import PICTURE_SIZE

KNOBS = {"width": PICTURE_SIZE, "height": PICTURE_SIZE, "steps": STEPS}
KEPT = "gingerbread_00001_.safetensors"

_TYPES = """() => app.graph.nodes.map((node) => node.title)"""
_WIDGETS = """() => app.graph.nodes[0].widgets.map((widget) => [widget.name, widget.value])"""
_SET = """values => {
  const node = app.graph.nodes.find((node) => node.isSubgraphNode?.());
  for (const [name, value] of Object.entries(values)) {
    const widget = node.widgets.find((widget) => widget.name === name);
    widget.value = value;
    widget.callback?.(value);
  }
}"""
_OPEN = "async graph => app.loadGraphData(graph)"


def widgets_of(name: str) -> list[str]:
    [node] = blueprint(name)["nodes"]
    return [slot["name"] for slot in node["inputs"] if "widget" in slot]


@pytest.mark.parametrize("name", NAMES)
def test_is_found_and_added_as_one_node(bench, name: str):
    result = search(bench, name).filter(has_text=name).first
    expect(result).to_be_visible()
    bench.shot(f"search-blueprint-{name.replace(' ', '-')}")
    result.click()
    bench.page.mouse.click(900, 500)  # where it is put
    bench.page.wait_for_function("() => app.graph.nodes.length === 1")
    assert bench.page.evaluate(_TYPES) == [name]
    values = dict(bench.page.evaluate(_WIDGETS))
    assert set(widgets_of(name)) <= values.keys()
    assert values["steps"] == 50
    assert "\n" in values["prompts"]
    bench.command("Comfy.Canvas.FitView")
    bench.shot(f"blueprint-{name.replace(' ', '-')}")


@pytest.mark.parametrize("name", every_day(NAMES, [CONTINUING]))
def test_runs_with_what_is_set_on_it(bench, server, name: str):
    bench.page.evaluate(_OPEN, around(name))
    mine, browsers = to_prompt(expand(around(name)), server.object_info()), bench.prompt()
    assert {key: node["class_type"] for key, node in mine.items()} == {
        key: node["class_type"] for key, node in browsers.items()
    }
    for key, node in mine.items():
        assert node["inputs"] == browsers[key]["inputs"], key
    bench.page.evaluate(_SET, KNOBS | ({"name": KEPT} if name == CONTINUING else {}))
    assert bench.run()["kind"] == "execution_success"
    outputs = {said["detail"]["node"]: said["detail"]["output"] for said in bench.heard("executed")}
    lines = next(node for node in mine.values() if node["class_type"] == "StyleAlignedPrompts")["inputs"]["prompts"]
    assert len(outputs["103"]["images"]) == len(lines.splitlines())
    expect(bench.node(103).locator("img").first).to_have_js_property("naturalWidth", PICTURE_SIZE)
    bench.shot(f"drawn-blueprint-{name.replace(' ', '-')}")
