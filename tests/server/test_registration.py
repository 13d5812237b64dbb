"""What the server knows of the pack. Ids, inputs and outputs are a contract: saved graphs depend on them.

After an intended change: UPDATE_SNAPSHOTS=1 python dev.py test tests/server/test_registration.py
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from schemas import inputs, pack_nodes

from devtools.comfyui.server import TOY_NAME

SNAPSHOT = Path(__file__).with_name("node_schemas.json")
CALLED = {
    "sref": {"ShareAttention", "Reference", "ReferenceLatent", "SaveStyle", "LoadStyle"},
    "style transfer": {"ShareAttention", "Reference", "ReferenceLatent"},
    "reference only": {"ShareAttention", "Reference", "ReferenceLatent"},
    "visual style prompting": {"ShareAttention", "Reference"},
    "redux": {"Reference"},
    "ipadapter style": {"Reference"},
    "untwisting rope": {"Positions"},
    "consistent characters": {"ShareAttention"},
    "style library": {"SaveStyle", "LoadStyle"},
    "attention heatmap": {"RecordAttention", "AttentionMap"},
    "style leakage": {"RecordAttention", "AttentionMap", "Masks"},
}
"""What people type who know such nodes by other names, and whom it should lead where."""
CONTRACT = ("category", "display_name", "input", "output", "output_name", "output_is_list", "output_node")


def without_prose(value: Any) -> Any:
    """What a graph depends on; texts for people may change freely."""
    if isinstance(value, dict):
        return {key: without_prose(item) for key, item in value.items() if key not in ("tooltip", "placeholder")}
    return [without_prose(item) for item in value] if isinstance(value, list) else value


def test_the_pack_and_the_icon_model_are_loaded(server, object_info):
    assert "IMPORT FAILED" not in server.log_text()
    assert TOY_NAME in server.log_text()
    assert pack_nodes(object_info)


def test_schemas_are_the_recorded_ones(object_info):
    schemas = {
        name: without_prose({part: schema[part] for part in CONTRACT})
        for name, schema in sorted(pack_nodes(object_info).items())
    }
    if os.environ.get("UPDATE_SNAPSHOTS"):
        SNAPSHOT.write_text(json.dumps(schemas, indent=2) + "\n", encoding="utf-8")
    recorded = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    assert schemas == recorded
    for name, schema in schemas.items():  # equal dicts may differ in order, and widget values are saved in order
        assert list(inputs(schema)) == list(inputs(recorded[name]))


def test_everything_is_explained(object_info):
    for name, schema in pack_nodes(object_info).items():
        assert schema["description"], name
        assert schema["search_aliases"], name
        for input_name, spec in inputs(schema).items():
            assert len(spec) > 1, (name, input_name)
            assert spec[1].get("tooltip"), (name, input_name)
        assert all(schema["output_tooltips"]), name


def test_nodes_are_found_by_the_names_that_others_gave_such_things(object_info):
    schemas = pack_nodes(object_info)
    for words, nodes in CALLED.items():
        found = {name for name, schema in schemas.items() if words in " | ".join(schema["search_aliases"])}
        assert found == {f"StyleAligned{node}" for node in nodes}, words
