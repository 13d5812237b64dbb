"""The whole path of a newcomer, in the default settings: template, help page, a mistake, its message, pictures.

Its screenshots are in newcomer/, drawn anew by: RECORD=1 python dev.py test tests/browser/test_newcomer.py
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from workbench import FOR_ICONS, Workbench

from devtools.comfyui.client import Client
from devtools.pictures.thumbnails import THUMBNAIL_SIZE

RECORDING = bool(os.environ.get("RECORD"))
RECORD = Path(__file__).with_name("newcomer")
SHOTS = ["1-templates", "2-opened", "3-help", "4-message", "5-corrected", "6-pictures"]
MAX_BYTES = 100_000
SIZE = (1280, 800)
STEPS = 20 if RECORDING else 4
IN_SIGHT = 3  # templates
PROMPTS = "a star\na heart\na house\na tree"


@pytest.fixture
def newcomer(browser: Browser, server: Client, tmp_path: Path) -> Iterator[Workbench]:
    """A browser that was never here, on a server with the pack newly installed and a checkpoint."""
    with browser.new_context(viewport={"width": SIZE[0], "height": SIZE[1]}, locale="en-US") as context:
        bench = Workbench(context.new_page(), server.url, RECORD if RECORDING else tmp_path)
        bench.open()
        bench.draw_nodes_in_html(False)
        yield bench


def test_from_the_template_to_the_pictures(newcomer: Workbench):
    bench, page = newcomer, newcomer.page
    bench.start_anew()

    thumbnails = bench.templates().locator("[data-testid^=template-workflow-] img")
    for number in range(IN_SIGHT):
        expect(thumbnails.nth(number)).to_have_js_property("naturalWidth", THUMBNAIL_SIZE)
    bench.shot("1-templates")
    bench.open_template("style_aligned_sd15")
    bench.shot("2-opened")

    help_page = bench.open_help("StyleAlignedShareAttention")
    expect(help_page.get_by_role("heading").first).to_have_text("Style Aligned: Share Attention")
    bench.shot("3-help")
    bench.close_panel()

    bench.set_values({**FOR_ICONS, "KSampler": {"steps": STEPS}})  # the icon model's size: newcomers leave it as it is
    bench.look_at("StyleAlignedPrompts", "StyleAlignedShareAttention")
    prompts = page.get_by_placeholder("the reference image")
    prompts.fill("")
    page.get_by_test_id("queue-button").click()
    expect(bench.toasts()).to_contain_text("There is no prompt. Write one prompt a line")
    bench.shot("4-message")
    assert bench.take_problems(r"400 \(Bad Request\) \S+/api/prompt$|^PromptExecutionError")

    prompts.fill(PROMPTS)
    assert bench.run()["kind"] == "execution_success"
    expect(bench.toasts()).to_have_count(0)
    bench.shot("5-corrected")
    bench.look_at("SaveImage")  # the canvas loads pictures that are in sight
    page.wait_for_function(
        "wanted => app.graph.nodes.find((node) => node.type === 'SaveImage').imgs?.length === wanted",
        arg=len(PROMPTS.splitlines()),
    )
    bench.shot("6-pictures")
    assert not bench.problems


def test_the_record_is_whole_and_small():
    recorded = sorted(RECORD.iterdir())
    assert [path.stem for path in recorded] == SHOTS
    assert max(path.stat().st_size for path in recorded) < MAX_BYTES
