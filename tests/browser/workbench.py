"""ComfyUI's own interface in a page of the browser, as a user sees and handles it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from playwright.sync_api import ConsoleMessage, Locator, Page, TimeoutError, expect

from devtools.comfyui.client import Prompt
from devtools.comfyui.server import PACK_NAME
from devtools.comfyui.workflow import Graph
from devtools.pictures.thumbnails import PICTURE_SIZE

PATIENCE = 180_000.0  # milliseconds, for a busy machine; no test takes long where nothing is wrong
CLICKS = 3
SIZE = (1920, 1080)
QUALITY = 45  # of screenshots: small files, and text that is still sharp

STEPS = 4
_SMALL = {"width": PICTURE_SIZE, "height": PICTURE_SIZE}
FOR_ICONS = {
    "EmptyLatentImage": _SMALL,
    "EmptySD3LatentImage": _SMALL,
    "ImageScale": _SMALL,
    "LatentUpscaleBy": {"scale_by": 1.0},
    "StyleAlignedInvert": {"steps": STEPS},
    "KSampler": {"steps": STEPS},
}
"""What a workflow needs to be changed in for a small model, and to be quick."""

# What the host's own interface reports on a new server without a network.
_HOST_NOISE = [
    re.compile(pattern)
    for pattern in (
        r"404 \(Not Found\) \S+/(favicon\.ico|user\.css|api/userdata\S*)$",  # what a new user does not have
        r"404 \(Not Found\) \S+/docs/\w+/\w+\.md$",  # where it looks for a help page first; then at docs/NODE.md
        r"ComfyApp graph accessed before initialization",
        r"https://\S+.* violates the following Content Security Policy",
        r"Fetch API cannot load https://",
    )
]

_LISTEN = """kinds => {
  window.heard = [];
  for (const kind of kinds) app.api.addEventListener(kind, ({ detail }) => window.heard.push({ kind, detail }));
}"""
_HEARD = [
    "execution_start",
    "progress_state",
    "b_preview_with_metadata",
    "executed",
    "execution_success",
    "execution_error",
    "execution_interrupted",
]
_ENDS = ["execution_success", "execution_error", "execution_interrupted"]

_SET_VALUES = """([type, values]) => {
  const nodes = app.graph.nodes.filter((node) => node.type === type);
  for (const node of nodes)
    for (const [name, value] of Object.entries(values)) {
      const widget = node.widgets.find((widget) => widget.name === name);
      widget.value = value;
      widget.callback?.(value);
    }
  return nodes.length;
}"""


_CLOSE_OTHER_TABS = """async () => {
  const tabs = app.extensionManager.workflow;
  for (const tab of [...tabs.openWorkflows]) if (tab !== tabs.activeWorkflow) await tabs.closeWorkflow(tab);
}"""

# Called otherwise from some version after 1.49 on.
_TAKE_NOTICES_AWAY = """() => {
  const { toast } = app.extensionManager;
  toast.dismissAll ? toast.dismissAll() : toast.removeAll();
}"""

# The interface of 0.24 would spread the nodes of every graph that is opened.
_DRAW_IN_HTML = """async wanted => {
  const setting = app.extensionManager.setting;
  if (setting.get("Comfy.VueNodes.AutoScaleLayout")) await setting.set("Comfy.VueNodes.AutoScaleLayout", false);
  await setting.set("Comfy.VueNodes.Enabled", wanted);
}"""

_ADD_NODE = """type => {
  const node = LiteGraph.createNode(type);
  app.graph.add(node);
  app.canvas.ds.scale = 1.5;
  app.canvas.centerOnNode(node);
  return node.id;
}"""

_SELECT = """types => {
  app.canvas.deselectAll();
  app.canvas.selectItems(app.graph.nodes.filter((node) => types.includes(node.type)));
}"""

_OPEN = "() => app.extensionManager.workflow.openWorkflows.map(({ filename }) => filename)"
# Under its own name, or with a number behind it where another tab has that name.
_IS_OPEN = """name => {
  const { filename } = app.extensionManager.workflow.activeWorkflow ?? {};
  return filename?.replace(/ \\(\\d+\\)$/, "") === name && app.graph.nodes.length > 0;
}"""

_SETTLED = """() => document.getAnimations().every(
  ({ playState, effect }) => playState !== "running" || effect.getTiming().iterations === Infinity // spinners go on
)"""

_OVERLAPS = """() => {
  const nodes = app.graph.nodes.map((node) => {
    const [left, top, width, height] = node.getBounding(); // with the title
    return { title: node.title, left, top, right: left + width, bottom: top + height };
  });
  const pairs = nodes.flatMap((one, index) => nodes.slice(index + 1).map((other) => [one, other]));
  return pairs
    .filter(([a, b]) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom)
    .map((pair) => pair.map(({ title }) => title));
}"""


class Workbench:
    """One page on a server. Screenshots go to the folder `pictures`."""

    def __init__(self, page: Page, url: str, pictures: Path) -> None:
        self.page = page
        self.url = url
        self.pictures = pictures
        self.problems: list[str] = []
        """What the console has reported as an error since this was emptied, but for the host's own."""
        page.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.problems.append(f"{error.name}: {error.message}\n{error.stack}"))

    def _note(self, message: ConsoleMessage) -> None:
        text = f"{message.text} {message.location.get('url', '')}"
        if message.type == "error" and not any(pattern.search(text) for pattern in _HOST_NOISE):
            self.problems.append(text)

    def open(self) -> None:
        """Load the page. A new user is shown the templates at once."""
        self.page.goto(self.url)
        self.page.wait_for_function("window.app?.extensionManager?.workflow?.activeWorkflow")
        self.page.evaluate(_LISTEN, _HEARD)

    def start_anew(self) -> None:
        """An empty graph, and nothing in front of it."""
        self.close_dialogs()
        self.command("Comfy.NewBlankWorkflow")
        self.page.wait_for_function("app.graph.nodes.length === 0")
        self.page.evaluate(_CLOSE_OTHER_TABS)
        self.page.evaluate(_TAKE_NOTICES_AWAY)
        expect(self.toasts()).to_have_count(0)

    def close_dialogs(self) -> None:
        dialogs = self.page.get_by_role("dialog")
        while dialogs.count():
            self.page.keyboard.press("Escape")
            expect(dialogs).to_have_count(0)
        self.page.keyboard.press("Escape")  # closes the search, which is no dialog there

    def draw_nodes_in_html(self, wanted: bool) -> None:
        """Switch between the host's two ways to draw nodes: elements of the page ("Nodes 2.0"), or one canvas."""
        self.page.evaluate(_DRAW_IN_HTML, wanted)
        expect(self.page.get_by_test_id("transform-pane")).to_have_count(1 if wanted else 0)

    def command(self, name: str) -> None:
        self.page.evaluate("name => app.extensionManager.command.execute(name)", name)

    def shot(self, name: str) -> None:
        """A screenshot, to be looked at: when nothing fades in or slides any longer."""
        self.pictures.mkdir(parents=True, exist_ok=True)
        self.page.wait_for_function(_SETTLED)
        self.page.screenshot(path=self.pictures / f"{name}.jpg", type="jpeg", quality=QUALITY)

    # Templates and graphs

    def templates(self) -> Locator:
        """The dialog with the templates, showing the pack's."""
        dialog = self.page.get_by_role("dialog")
        if dialog.count() == 0:
            self.page.locator(".templates-tab-button").click()
        dialog.get_by_text(PACK_NAME).first.click()
        return dialog

    def open_template(self, name: str) -> None:
        """Choose a template of the pack; returns when its graph is open.

        Chosen again where nothing came of it: a click is lost when the dialog draws its cards anew under it.
        """
        for _ in range(CLICKS):
            self.templates().get_by_test_id(f"template-workflow-{name}").click()
            try:
                self.page.wait_for_function(_IS_OPEN, arg=name, timeout=PATIENCE / CLICKS)
                break
            except TimeoutError:
                self.shot(f"not-open-{name}")
                self.close_dialogs()
        else:
            raise AssertionError(f"{name} did not open; open is {self.page.evaluate(_OPEN)}; {self.problems}")
        expect(self.page.get_by_role("dialog")).to_have_count(0)

    def graph(self) -> Graph:
        """The graph as the browser saves it."""
        return dict(json.loads(self.page.evaluate("() => JSON.stringify(app.graph.serialize())")))

    def prompt(self) -> Prompt:
        """What the browser would send for it."""
        return dict(json.loads(self.page.evaluate("async () => JSON.stringify((await app.graphToPrompt()).output)")))

    def reload_graph(self) -> None:
        """Save the graph and open what was saved, in a tab of its own."""
        self.page.evaluate("async () => app.loadGraphData(JSON.parse(JSON.stringify(app.graph.serialize())))")

    def add_node(self, node_type: str) -> Locator:
        """A new node in the middle of what is seen."""
        return self.node(self.page.evaluate(_ADD_NODE, node_type))

    def node(self, node_id: int) -> Locator:
        """A node that is drawn in HTML."""
        return self.page.locator(f"[data-node-id='{node_id}']")

    def nodes(self, node_type: str) -> list[int]:
        """The ids of the nodes of a type."""
        return list(
            self.page.evaluate("type => app.graph.nodes.filter((n) => n.type === type).map((n) => n.id)", node_type)
        )

    def overlaps(self) -> list[list[str]]:
        """The titles of nodes of which one lies on the other."""
        return list(self.page.evaluate(_OVERLAPS))

    def select(self, *node_types: str) -> None:
        """Select the nodes of these types, and no others."""
        self.page.evaluate(_SELECT, node_types)

    def look_at(self, *node_types: str) -> None:
        """Have the nodes of these types fill the canvas."""
        self.select(*node_types)
        self.command("Comfy.Canvas.FitView")
        self.select()

    def open_help(self, node_type: str) -> Locator:
        """The help page of a node of the graph, in the panel at the right."""
        self.select(node_type)
        self.page.get_by_test_id("info-button").click()
        return self.page.locator(".node-help-content")

    def close_panel(self) -> None:
        self.page.get_by_role("button", name="Toggle properties panel").click()

    def set_values(self, values: Mapping[str, Mapping[str, Any]]) -> None:
        """Give widgets of all nodes of a type other values, where the graph has that type."""
        for node_type, changed in values.items():
            self.page.evaluate(_SET_VALUES, [node_type, changed])

    # Runs

    def run(self) -> dict[str, Any]:
        """Press Run, wait for the end; the server's last word: execution_success, execution_error, ..."""
        self.start()
        return self.end()

    def start(self) -> None:
        self.page.evaluate("() => { window.heard = []; }")
        self.page.get_by_test_id("queue-button").click()

    def end(self) -> dict[str, Any]:
        self.page.wait_for_function("ends => heard.some(({ kind }) => ends.includes(kind))", arg=_ENDS)
        return dict(self.heard(*_ENDS)[0])

    def heard(self, *kinds: str) -> list[dict[str, Any]]:
        """What the server has said since the start of the run."""
        return list(self.page.evaluate("kinds => heard.filter(({ kind }) => kinds.includes(kind))", kinds))

    def steps_seen(self, node_id: int) -> set[int]:
        """The numbers of steps done that a node has reported."""
        states = [said["detail"]["nodes"].get(str(node_id)) for said in self.heard("progress_state")]
        return {int(state["value"]) for state in states if state}

    def previews_seen(self, node_id: int) -> int:
        previews = self.heard("b_preview_with_metadata")
        return sum(str(preview["detail"]["nodeId"]) == str(node_id) for preview in previews)

    def overlay(self) -> Locator:
        """The host's notice of errors."""
        return self.page.get_by_test_id("error-overlay")

    def mark_of_error(self, node_id: int) -> Locator:
        """The badge of a node that was refused."""
        return self.node(node_id).get_by_role("button", name="Error")

    def toasts(self) -> Locator:
        return self.page.locator(".p-toast-message, [data-testid='toast']")

    def take_problems(self, pattern: str) -> list[str]:
        """Take the console's errors that match away from `problems`."""
        found = [problem for problem in self.problems if re.search(pattern, problem)]
        self.problems = [problem for problem in self.problems if problem not in found]
        return found
