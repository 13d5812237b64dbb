"""The template that opens in app mode: a page with a few fields, Run and the pictures, and no graph."""

from __future__ import annotations

from playwright.sync_api import expect
from test_templates import as_written, shipped, without_titles
from workbench import FOR_ICONS

from devtools.comfyui.workflow import to_prompt

APP = "style_set.app"
FIELDS = [
    "Contents, one a line",
    "Style",
    "How much of the style to take",
    "Seed",
    "Checkpoint (SDXL)",
]
CONTENTS = "a star\na heart\na tree"


def test_opens_as_an_app_and_draws_a_set(bench, server):
    bench.open_template(APP)
    fields = bench.page.get_by_test_id("app-mode-widget-item")
    expect(fields.get_by_test_id("builder-widget-label")).to_have_text(FIELDS)
    expect(bench.page.get_by_test_id("linear-welcome")).to_be_visible()
    assert as_written(bench.graph()) == as_written(shipped(APP))
    assert without_titles(bench.prompt()) == without_titles(to_prompt(shipped(APP), server.object_info()))
    bench.shot("app-opened")

    fields.locator("textarea").fill(CONTENTS)
    bench.set_values(FOR_ICONS)
    bench.start(bench.page.get_by_test_id("linear-run-button").get_by_role("button", name="Run"))
    assert bench.end()["kind"] == "execution_success"
    pictures = bench.page.get_by_test_id("linear-outputs").locator("img")
    expect(pictures).to_have_count(len(CONTENTS.splitlines()))
    expect(pictures.first).not_to_have_js_property("naturalWidth", 0)
    bench.shot("app-drawn")
