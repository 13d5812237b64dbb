"""Every shipped workflow run in the browser: progress and previews on the way, its pictures at the end."""

from __future__ import annotations

import re
from typing import Any

import pytest
from every_day import every_day
from playwright.sync_api import expect
from releases import skip_without_its_model
from test_templates import GRAPHS, shipped
from workbench import FOR_ICONS, STEPS

from devtools.comfyui.client import Client
from devtools.pictures.thumbnails import PICTURE_SIZE

SAVED = re.compile(r"style_references/\S+\.safetensors")
EVERY_DAY = ("reference_mixed", "save_style", "style_aligned_flux")  # the newcomer's test runs style_aligned_sd15
LONG_NODES = ("StyleAlignedInvert", "KSampler")
WITHOUT_REFERENCE = {
    "reference_any_size": 3,
    "reference_hires": 3,
    "reference_inpaint": 1,
    "reference_long_set": 3,
    "reference_mixed": 9,
    "reference_panorama": 1,
    "reference_part": 3,
}
"""How many pictures a workflow saves whose references take no place in the batch."""


@pytest.mark.parametrize("name", every_day(GRAPHS, EVERY_DAY))
def test_draws_its_pictures(bench, server: Client, name: str):
    skip_without_its_model(shipped(name), server.object_info())
    bench.open_template(name)
    bench.set_values(FOR_ICONS)
    assert bench.run()["kind"] == "execution_success"
    for node_id in (node_id for kind in LONG_NODES for node_id in bench.nodes(kind)):
        assert bench.steps_seen(node_id) & {*range(1, STEPS + 1)}
        assert bench.previews_seen(node_id)
        if not bench.is_folded(node_id):
            expect(bench.node(node_id).locator("img").first).to_be_visible()
    saving = bench.nodes("SaveImage")
    outputs = {said["detail"]["node"]: said["detail"]["output"] for said in bench.heard("executed")}
    number = WITHOUT_REFERENCE.get(name) or rows(bench.prompt())
    assert sum(len(outputs[str(node_id)]["images"]) for node_id in saving) == number
    for node_id in saving:
        expect(bench.node(node_id).locator("img").first).to_have_js_property("naturalWidth", PICTURE_SIZE)
    for node_id in bench.nodes("StyleAlignedSaveStyle"):
        expect(bench.node(node_id).locator("input").last).to_have_value(SAVED)
    bench.shot(f"drawn-{name}")
    assert not bench.overlaps()


def rows(prompt: dict[str, Any]) -> int:
    """How many pictures a set has: one a line, and the reference where its encoding is given."""
    [prompts] = [node["inputs"] for node in prompt.values() if node["class_type"] == "StyleAlignedPrompts"]
    return len(prompts["prompts"].splitlines()) + ("reference" in prompts)
