"""Each node: found by what a user would type, explained where the user looks, simple until more is asked for."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from every_day import every_day
from playwright.sync_api import Locator, expect

from devtools.comfyui.client import Client

SNAPSHOT = Path(__file__).resolve().parents[1] / "server" / "node_schemas.json"
SCHEMAS = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
NODES = sorted(SCHEMAS)
EVERY_DAY = ("StyleAlignedAttentionMap", "StyleAlignedReference", "StyleAlignedShareAttention")
"""The ones with the most inputs; tests of the server look at the texts of all."""
TITLES = [SCHEMAS[node]["display_name"] for node in NODES]
CATEGORY = "Style Aligned"


def widgets(node: str, *, advanced: bool) -> list[str]:
    """The names of a node's inputs that have a widget, advanced ones or the others."""
    inputs = {name: spec for part in SCHEMAS[node]["input"].values() for name, spec in part.items()}
    kinds = ("INT", "FLOAT", "BOOLEAN", "STRING", "COMBO")
    return [name for name, (kind, *o) in inputs.items() if kind in kinds and bool(o[0].get("advanced")) == advanced]


def search(bench, words: str) -> Locator:
    """The results for what is typed into the search.

    A command opens it: two clicks on a busy page may be too far apart for the host to be a double click.
    """
    field = bench.page.locator("[role=combobox]:focus")
    expect(field).to_have_count(0)
    bench.command("Workspace.SearchBox.Toggle")
    field.fill(words)
    return bench.page.get_by_test_id("result-item")


def entitled(title: str) -> re.Pattern[str]:
    """A title, and none that goes on where it ends."""
    longer = "|".join(re.escape(other.removeprefix(title)) for other in TITLES if other.startswith(f"{title} "))
    return re.compile(re.escape(title) + (f"(?!{longer})" if longer else ""))


@pytest.mark.parametrize("words", every_day(["style", "consistent", "style aligned", "shared attention"], ["style"]))
def test_all_are_found_by_the_words_of_a_user(bench, words: str):
    results = search(bench, words)
    for title in TITLES:
        expect(results.filter(has_text=entitled(title))).to_have_count(1)
    bench.shot(f"search-{words.replace(' ', '-')}")


@pytest.mark.parametrize(
    ("words", "title"),
    [
        ("sref", "Share Attention"),
        ("redux", "Reference"),
        ("untwisting rope", "Positions"),
        ("stylealigned", "Prompts"),
        ("attention map", "Attention Map"),
        ("style leakage", "Masks"),
    ],
)
def test_some_are_found_by_what_others_call_such_nodes(bench, words: str, title: str):
    expect(search(bench, words).filter(has_text=entitled(f"{CATEGORY}: {title}"))).to_have_count(1)
    bench.shot(f"search-{words.replace(' ', '-')}")


def test_all_are_in_one_category(bench, server: Client):
    info = server.object_info()
    assert {info[node]["category"] for node in NODES} == {CATEGORY}
    results = search(bench, "")
    bench.page.get_by_test_id(f"category-{CATEGORY}").click()
    expect(results).to_have_count(len(NODES))
    bench.shot("category")


@pytest.mark.parametrize("node", every_day(NODES, EVERY_DAY))
def test_every_socket_has_a_tooltip(bench, server: Client, node: str):
    schema = server.object_info()[node]
    inputs = {name: spec for part in ("required", "optional") for name, spec in schema["input"].get(part, {}).items()}
    assert all(spec[1]["tooltip"] for spec in inputs.values())
    assert len(schema["output_tooltips"]) == len(schema["output"])
    assert all(schema["output_tooltips"])
    drawn = bench.add_node(node)
    for widget in widgets(node, advanced=False)[:1]:
        drawn.get_by_text(widget, exact=True).first.hover(force=True)  # a label may lie on the field that listens
        expect(bench.page.get_by_text(inputs[widget][1]["tooltip"]).first).to_be_visible()
    bench.shot(f"node-{node}")


@pytest.mark.parametrize("node", [node for node in NODES if widgets(node, advanced=True)])
def test_rare_settings_are_folded_away(bench, node: str):
    drawn = bench.add_node(node)
    for name in widgets(node, advanced=False):
        expect(drawn.get_by_text(name, exact=True).first).to_be_visible()
    for name in widgets(node, advanced=True):
        expect(drawn.get_by_text(name, exact=True)).to_have_count(0)
    drawn.get_by_text("Show advanced inputs").click()
    for name in widgets(node, advanced=True):
        expect(drawn.get_by_text(name, exact=True).first).to_be_visible()
    bench.shot(f"unfolded-{node}")


_TOO_WIDE = """page => [...page.querySelectorAll("*")].filter((part) => part.scrollWidth > page.clientWidth).length"""


@pytest.mark.parametrize("node", every_day(NODES, EVERY_DAY))
def test_the_help_panel_shows_our_page(bench, node: str):
    bench.add_node(node)
    page = bench.open_help(node)
    expect(page.get_by_role("heading").first).to_have_text(SCHEMAS[node]["display_name"])
    for picture in page.locator("img").all():
        picture.scroll_into_view_if_needed()
        expect(picture).not_to_have_js_property("naturalWidth", 0)
    too_wide = page.evaluate(_TOO_WIDE)
    bench.shot(f"help-{node}")
    bench.close_panel()
    assert not too_wide, "the page is wider than the panel at its first width"
