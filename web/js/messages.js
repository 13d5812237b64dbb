// Shows what the pack says when something cannot be done. The browser's own notice says only that a node failed: the
// reason is behind its "View details" and, where the run had begun, in a report with the program's stack.

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { showError } from "./notices.js";

// The pack's folder in custom_nodes: this file is served as /extensions/FOLDER/js/messages.js.
const FOLDER = decodeURIComponent(new URL(import.meta.url).pathname.split("/")[2]);
const SECONDS = 30;

/** Functions that take away what the last run had to say. */
let shown = [];

function show(type, detail) {
  const summary = window.LiteGraph.registered_node_types[type]?.title ?? type;
  shown.push(showError(summary, detail, SECONDS * 1000));
}

function clear() {
  for (const takeAway of shown) takeAway();
  shown = [];
}

/** Whether an error was raised by the pack itself: by its nodes or, while another node samples, by what they attached. */
function isOurs(error) {
  return error.exception_type === "ValueError" && error.traceback.at(-1)?.includes(FOLDER);
}

/** What a node refused before the run; the server repeats it for each input that the node looked at. */
function refusals({ errors }) {
  const refused = errors.filter((error) => error.type === "custom_validation_failed");
  return new Set(refused.map((error) => error.details.slice(`${error.extra_info.input_name} - `.length)));
}

function isOurType(type) {
  return window.LiteGraph.registered_node_types[type]?.nodeData?.python_module === `custom_nodes.${FOLDER}`;
}

function showRefusals(nodeErrors) {
  for (const node of Object.values(nodeErrors)) {
    if (isOurType(node.class_type)) for (const message of refusals(node)) show(node.class_type, message);
  }
}

app.registerExtension({
  name: "StyleAligned.Messages",
  setup() {
    api.addEventListener("execution_start", clear);
    api.addEventListener("execution_error", ({ detail }) => {
      if (isOurs(detail)) show(detail.node_type, detail.exception_message.trim());
    });
    const { queuePrompt } = api; // there is no event for a prompt that the server refuses
    api.queuePrompt = async function () {
      clear();
      try {
        return await queuePrompt.apply(this, arguments);
      } catch (error) {
        showRefusals(error.response?.node_errors ?? {});
        throw error;
      }
    };
  },
});
