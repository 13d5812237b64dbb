"""Graphs of style_aligned_comfy: offered our nodes where that pack is missing, and left alone where it is there."""

from __future__ import annotations

import json

import numpy as np
import pytest
from every_day import every_day
from PIL import Image
from schemas import inputs, pack_nodes

from devtools.comfyui.server import Server
from devtools.comfyui.workflow import to_prompt

BATCH, INVERTING, SAMPLING = (
    "StyleAlignedBatchAlign",
    "StyleAlignedSampleReferenceLatents",
    "StyleAlignedReferenceSampler",
)
OURS = {
    BATCH: "StyleAlignedShareAttention",
    INVERTING: "StyleAlignedInvert",
    SAMPLING: "StyleAlignedReferenceLatent",
}

OTHER_PACK = f"""
class Old:
    INPUT_TYPES = classmethod(lambda cls: {{"required": {{}}}})
    RETURN_TYPES, FUNCTION, CATEGORY = (), "run", "old"

NODE_CLASS_MAPPINGS = dict.fromkeys({[BATCH, INVERTING]!r}, Old)
"""


def offered(server) -> dict[str, list[dict]]:
    return {old: new for old, new in server.get("/node_replacements").items() if old in OURS}


def test_each_node_of_the_other_pack_is_offered_one_of_ours(server, object_info):
    found = offered(server)
    assert {old: [each["new_node_id"] for each in new] for old, new in found.items()} == {
        old: [new] for old, new in OURS.items()
    }
    for [each] in found.values():
        schema = pack_nodes(object_info)[each["new_node_id"]]
        mapped = [pair["new_id"] for pair in each["input_mapping"]]
        assert len(set(mapped)) == len(mapped)
        assert set(mapped) <= inputs(schema).keys()


def test_a_set_of_the_other_pack_is_drawn_as_with_share_attention(server, object_info, icon_graph):
    prompt = to_prompt(icon_graph(), object_info)
    [sharing] = [node for node in prompt.values() if node["class_type"] == OURS[BATCH]]
    sharing["inputs"] |= {"scale": 0.7, "share_group_norm": True}
    old = json.loads(json.dumps(prompt))
    [sharing] = [node for node in old.values() if node["class_type"] == OURS[BATCH]]
    given = {"model": sharing["inputs"]["model"], "share_norm": "both", "share_attn": "q+k", "scale": 0.7}
    sharing.update(class_type=BATCH, inputs=given)
    pairs = list(zip(saved_pictures(server.run(old)), saved_pictures(server.run(prompt)), strict=True))
    assert len(pairs) == 4
    assert all(np.array_equal(*pair) for pair in pairs)


def saved_pictures(result) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)) for paths in result.images.values() for path in paths]


@pytest.mark.parametrize("folder", every_day(["a_loaded_before", "z_loaded_after"], ["z_loaded_after"]))
def test_where_the_other_pack_is_there_its_nodes_stay(comfyui_path, tmp_path, folder):
    pack = tmp_path / "custom_nodes" / folder
    pack.mkdir(parents=True)
    (pack / "__init__.py").write_text(OTHER_PACK, encoding="utf-8")
    with Server(comfyui_path, tmp_path, cpu=True) as server:
        assert not offered(server)
        assert server.get(f"/object_info/{BATCH}")[BATCH]["python_module"] == f"custom_nodes.{folder}"
