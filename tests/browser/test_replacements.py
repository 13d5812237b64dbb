"""A graph of style_aligned_comfy in the browser: its nodes are offered ours, with links and values kept."""

from __future__ import annotations

from playwright.sync_api import expect
from releases import since
from test_templates import shipped
from workbench import FOR_ICONS

SHARING = "StyleAlignedShareAttention"
OLD = "StyleAlignedBatchAlign"


def saved_with_the_other_pack():
    graph = shipped("style_aligned_sd15")
    [sharing] = [node for node in graph["nodes"] if node["type"] == SHARING]
    sharing |= {"type": OLD, "inputs": sharing["inputs"][:1], "widgets_values": ["both", "q+k", 0.7]}
    sharing["outputs"] = [{"name": "MODEL", "type": "MODEL", "links": sharing["outputs"][0]["links"]}]
    sharing["properties"] = {"Node name for S&R": OLD}
    return graph


@since("0.30.0", "offer that names the node")
def test_its_node_is_replaced_by_share_attention(bench):
    bench.page.evaluate("async graph => app.loadGraphData(graph)", saved_with_the_other_pack())
    expect(bench.overlay()).to_contain_text(f"{OLD} can be replaced")
    bench.overlay().get_by_role("button", name="View details").click()
    offer = bench.page.get_by_role("button", name="Replace Node")
    expect(offer).to_be_visible()
    expect(bench.page.get_by_text(SHARING).first).to_be_visible()
    bench.shot("replacement-offered")
    offer.click()
    expect(offer).to_have_count(0)
    bench.page.wait_for_function("type => app.graph.nodes.some((node) => node.type === type)", arg=SHARING)
    [sharing] = [node for node in bench.prompt().values() if node["class_type"] == SHARING]
    assert sharing["inputs"] == {
        "model": ["1", 0], "scale": 0.7, "shift": 0, "share_group_norm": True, "adain_queries": True,
        "adain_keys": True, "adain_values": False, "start_percent": 0, "end_percent": 1, "blocks": "", "strength": 1,
        "reference_without_control": False,
    }  # fmt: skip
    bench.set_values(FOR_ICONS)
    assert bench.run()["kind"] == "execution_success"
    bench.shot("replacement-drawn")
    bench.take_problems("StyleAlignedBatchAlign")
