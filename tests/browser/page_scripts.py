"""What `workbench` has the page do itself: the host's own objects are there alone."""

from __future__ import annotations

LISTEN = """kinds => {
  window.heard = [];
  for (const kind of kinds) app.api.addEventListener(kind, ({ detail }) => window.heard.push({ kind, detail }));
}"""

SET_VALUES = """([type, values]) => {
  const nodes = app.graph.nodes.filter((node) => node.type === type);
  for (const node of nodes)
    for (const [name, value] of Object.entries(values)) {
      const widget = node.widgets.find((widget) => widget.name === name);
      widget.value = value;
      widget.callback?.(value);
    }
  return nodes.length;
}"""

VALUE = """([type, name]) =>
  app.graph.nodes.find((node) => node.type === type).widgets.find((widget) => widget.name === name).value"""

CLOSE_OTHER_TABS = """async () => {
  const tabs = app.extensionManager.workflow;
  for (const tab of [...tabs.openWorkflows]) if (tab !== tabs.activeWorkflow) await tabs.closeWorkflow(tab);
}"""

# Called otherwise from some version after 1.49 on.
TAKE_NOTICES_AWAY = """() => {
  const { toast } = app.extensionManager;
  toast.dismissAll ? toast.dismissAll() : toast.removeAll();
}"""

# The interface of 0.24 would spread the nodes of every graph that is opened.
DRAW_IN_HTML = """async wanted => {
  const setting = app.extensionManager.setting;
  if (setting.get("Comfy.VueNodes.AutoScaleLayout")) await setting.set("Comfy.VueNodes.AutoScaleLayout", false);
  await setting.set("Comfy.VueNodes.Enabled", wanted);
}"""

ADD_NODE = """type => {
  const node = LiteGraph.createNode(type);
  app.graph.add(node);
  app.canvas.ds.scale = 1.5;
  app.canvas.centerOnNode(node);
  return node.id;
}"""

# As the dialog does it, without the dialog. What is drawn a frame later has been measured.
OPEN_AS_TEMPLATE = """async ([graph, name]) => {
  await app.loadGraphData(graph, true, true, name, { openSource: "template" });
  for (let frame = 0; frame < 2; frame++) await new Promise(requestAnimationFrame);
}"""

# Where the middle of a widget is in the page, when its node is in the middle of the canvas.
PLACE_ON_CANVAS = """([type, name]) => {
  const node = app.graph.nodes.find((node) => node.type === type);
  const widget = node.widgets.find((widget) => widget.name === name);
  app.canvas.ds.scale = 1;
  app.canvas.centerOnNode(node);
  app.canvas.draw(true, true);
  const middle = [node.pos[0] + node.size[0] / 2, node.pos[1] + widget.last_y + LiteGraph.NODE_WIDGET_HEIGHT / 2];
  const [x, y] = app.canvas.ds.convertOffsetToCanvas(middle);
  const { left, top } = app.canvas.canvas.getBoundingClientRect();
  return [left + x, top + y];
}"""

SELECT = """types => {
  app.canvas.deselectAll();
  app.canvas.selectItems(app.graph.nodes.filter((node) => types.includes(node.type)));
}"""

OPEN = "() => app.extensionManager.workflow.openWorkflows.map(({ filename }) => filename)"
# Under its own name, or with a number behind it where another tab has that name.
IS_OPEN = """name => {
  const { filename } = app.extensionManager.workflow.activeWorkflow ?? {};
  return filename?.replace(/ \\(\\d+\\)$/, "") === name && app.graph.nodes.length > 0;
}"""

SETTLED = """() => document.getAnimations().every(
  ({ playState, effect }) => playState !== "running" || effect.getTiming().iterations === Infinity // spinners go on
)"""

OVERLAPS = """() => {
  const nodes = app.graph.nodes.map((node) => {
    const [left, top, width, height] = node.getBounding(); // with the title
    return { title: node.title, left, top, right: left + width, bottom: top + height };
  });
  const pairs = nodes.flatMap((one, index) => nodes.slice(index + 1).map((other) => [one, other]));
  return pairs
    .filter(([a, b]) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom)
    .map((pair) => pair.map(({ title }) => title));
}"""
