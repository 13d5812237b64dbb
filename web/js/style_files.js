// What the browser adds to the nodes for style files: Load Style can upload one, Save Style shows what it saved.

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { showError } from "./notices.js";

const FOLDER = "style_references";
const SUFFIX = ".safetensors";

/** `name`, numbered where there is a style of that name: the list would show the other file. */
function freeName(name, taken) {
  const stem = name.slice(0, -SUFFIX.length);
  for (let number = 2; taken.includes(name); number++) name = `${stem} (${number})${SUFFIX}`;
  return name;
}

/** Upload to the input folder's style_references, as pictures are to the input folder; the name it got. */
async function upload(file, taken) {
  const form = new FormData();
  form.append("image", file, freeName(file.name, taken)); // "image" is what the host calls any upload
  form.append("subfolder", FOLDER);
  form.append("type", "input");
  const answer = await api.fetchApi("/upload/image", { method: "POST", body: form });
  if (!answer.ok) throw new Error(`The style was not uploaded: ${answer.status} ${answer.statusText}`);
  return (await answer.json()).name;
}

function notify(error) {
  showError("Style Aligned", error.message, 8000);
}

/** Leave a widget out of saved graphs and of prompts, where a new value would have the node run again. */
function unsaved(widget) {
  widget.serialize = false;
  widget.options = { ...widget.options, serialize: false };
  return widget;
}

function addUpload(node) {
  const list = node.widgets.find((widget) => widget.name === "name");
  const chooser = Object.assign(document.createElement("input"), { type: "file", accept: SUFFIX });
  chooser.addEventListener("change", async () => {
    try {
      const name = await upload(chooser.files[0], list.options.values);
      list.options.values = [...list.options.values, name];
      list.value = name;
      list.callback?.(name);
    } catch (error) {
      notify(error);
    }
    chooser.value = ""; // so that the same file can be chosen again
  });
  unsaved(node.addWidget("button", "upload", null, () => chooser.click()));
}

function addSavedName(node) {
  const shown = unsaved(node.addWidget("text", "saved", "", () => {}));
  shown.disabled = true;
  const executed = node.onExecuted;
  node.onExecuted = function (output) {
    executed?.apply(this, arguments);
    shown.value = output.text?.[0] ?? "";
  };
}

app.registerExtension({
  name: "StyleAligned.StyleFiles",
  nodeCreated(node) {
    if (node.comfyClass === "StyleAlignedLoadStyle") addUpload(node);
    if (node.comfyClass === "StyleAlignedSaveStyle") addSavedName(node);
  },
});
