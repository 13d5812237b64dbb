"""What a user reads after a mistake: the pack's own words, in front, with no traceback."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect
from workbench import FOR_ICONS

SHARING, PROMPTS, REFERENCE = "StyleAlignedShareAttention", "StyleAlignedPrompts", "StyleAlignedReferenceLatent"

_CONNECT = """([from, output, to, input]) => {
  const find = (type) => app.graph.nodes.find((node) => node.type === type);
  find(from).connect(output, find(to), input);
}"""


def assert_told(bench, title: str, message: str) -> None:
    toast = bench.toasts().filter(has_text=title)
    expect(toast).to_have_count(1)
    expect(toast).to_contain_text(message)
    assert "File " not in toast.inner_text()
    assert "Traceback" not in toast.inner_text()


@pytest.mark.parametrize(
    ("name", "node", "values", "message"),
    [
        ("blocks", SHARING, {"blocks": "input.4, wibble.2"}, "'wibble.2' is not a block"),
        pytest.param(
            "range",
            SHARING,
            {"start_percent": 0.8, "end_percent": 0.2},
            "start_percent (0.8) lies after end_percent (0.2)",
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            "prompts",
            PROMPTS,
            {"prompts": " \n"},
            "There is no prompt. Write one prompt a line",
            marks=pytest.mark.thorough,
        ),
    ],
)
def test_a_bad_value(bench, name: str, node: str, values: dict[str, object], message: str):
    bench.open_template("style_aligned_sd15")
    bench.set_values({**FOR_ICONS, node: values})
    bench.start()
    assert_told(bench, bench.page.evaluate("type => LiteGraph.registered_node_types[type].title", node), message)
    [refusing] = bench.nodes(node)
    expect(bench.mark_of_error(refusing)).to_be_visible()
    expect(bench.mark_of_error(bench.nodes("KSampler")[0])).to_have_count(0)
    bench.shot(f"refused-{name}")
    assert bench.take_problems(r"400 \(Bad Request\) \S+/api/prompt$|^PromptExecutionError")


@pytest.mark.thorough
def test_several_pictures_as_the_reference(bench):
    bench.open_template("style_from_image")
    bench.set_values({**FOR_ICONS, "RepeatLatentBatch": {"amount": 3}})
    bench.add_node("RepeatLatentBatch")
    bench.set_values({"RepeatLatentBatch": {"amount": 3}})
    bench.page.evaluate(_CONNECT, ["VAEEncode", 0, "RepeatLatentBatch", "samples"])
    bench.page.evaluate(_CONNECT, ["RepeatLatentBatch", 0, REFERENCE, "reference"])
    assert bench.run()["kind"] == "execution_error"
    assert_told(
        bench, "Style Aligned: Reference Latent", "The reference has 3 images; give one. Latent From Batch picks it."
    )
    bench.look_at(REFERENCE, "RepeatLatentBatch")
    bench.shot("failed-several")


def test_another_size_than_the_references(bench):
    """The pack's part in the sampler finds it: the message is under the sampler's name."""
    bench.open_template("style_from_image")
    bench.set_values(FOR_ICONS)
    bench.add_node("EmptyLatentImage")
    bench.set_values({"EmptyLatentImage": {"width": 64, "height": 32, "batch_size": 4}})
    bench.page.evaluate(_CONNECT, ["EmptyLatentImage", 0, "KSampler", "latent_image"])
    assert bench.run()["kind"] == "execution_error"
    assert_told(bench, "KSampler", "Connect the latent output of Style Aligned: Reference Latent to the sampler")
    bench.look_at(REFERENCE, "KSampler")
    bench.shot("failed-size")


def test_a_message_goes_with_the_next_run(bench):
    bench.open_template("style_aligned_sd15")
    bench.set_values({**FOR_ICONS, SHARING: {"blocks": "top"}})
    bench.start()
    assert_told(bench, "Style Aligned: Share Attention", "'top' is not a block")
    bench.take_problems("400|PromptExecutionError")
    bench.set_values({SHARING: {"blocks": "middle"}})
    assert bench.run()["kind"] == "execution_success"
    expect(bench.toasts()).to_have_count(0)
