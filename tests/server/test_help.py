"""The help pages, fetched as the browser does: one for each node, and pictures that are there.

The browser asks for a page in its language first, then for the one without a language, and takes relative pictures from
the pages' folder, whichever of the two it got.
"""

from __future__ import annotations

import io
import json
import re
import urllib.error
import urllib.request

import pytest
from PIL import Image
from schemas import inputs, pack_nodes

from devtools import ROOT
from devtools.comfyui.server import PACK_NAME, Server
from devtools.pictures import help_plans
from devtools.pictures.help_pictures import PICTURES

PAGES = ROOT / "web" / "docs"
NODES = sorted(page.stem for page in PAGES.glob("*.md"))
PICTURE = re.compile(r"!\[(?P<text>[^]]*)\]\((?P<link>[^)\s]+)\)")
MOST_BYTES = 60_000
MOST_BYTES_IN_ALL = 850_000  # of web/ and locales/ together: the published package stays well below 2 MB


def fetch(server: Server, path: str) -> tuple[str, bytes]:
    """Content type and content."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{server.url}/extensions/{PACK_NAME}/docs/{path}", timeout=60) as answer:
        return answer.headers["Content-Type"], answer.read()


def shown(server: Server, node: str, language: str) -> str:
    """The page that a browser in that language shows."""
    for path in (f"{node}/{language}.md", f"{node}.md"):
        try:
            kind, content = fetch(server, path)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                continue
            raise
        assert "html" not in kind
        return content.decode("utf-8")
    raise AssertionError(f"no page for {node}")


def pages() -> dict[str, str]:
    return {str(page.relative_to(PAGES)): page.read_text(encoding="utf-8") for page in PAGES.rglob("*.md")}


def links(page: str) -> list[str]:
    return [found["link"] for found in PICTURE.finditer(page)]


def test_every_node_has_a_page_and_no_page_is_left_over(object_info):
    assert sorted(pack_nodes(object_info)) == NODES


@pytest.mark.parametrize("node", NODES)
def test_a_page_explains_the_node(server, object_info, node: str):
    page, schema = shown(server, node, "en"), pack_nodes(object_info)[node]
    assert page.startswith(f"# {schema['display_name']}\n")
    for name in [*inputs(schema), *schema["output_name"]]:
        assert f"**{name}**" in page, name
    for case in ("too weak", "too strong", "content is copied"):
        assert f"**{case}**" in page, case
    assert "https://arxiv.org/abs/2312.02133" in page
    assert links(page)


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("language", ["ja", "zh"])
def test_a_translated_page_is_the_same_page(server, node: str, language: str):
    original, page = shown(server, node, "en"), shown(server, node, language)
    names = json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))[node]
    assert page.startswith(f"# {names['display_name']}\n")
    for group in ("inputs", "outputs"):
        for name in names[group].values():
            assert f"**{name['name']}**" in page, name["name"]
    assert links(page) == links(original)
    for part in (r"^#+ ", r"^\|", r"https://\S+?(?=\))"):
        assert len(re.findall(part, page, re.M)) == len(re.findall(part, original, re.M)), part


def test_all_pictures_load_are_described_and_small(server):
    for name, page in pages().items():
        for found in PICTURE.finditer(page):
            assert found["text"], name
            kind, content = fetch(server, found["link"])
            assert kind == "image/png"
            assert len(content) < MOST_BYTES, found["link"]
            assert Image.open(io.BytesIO(content)).width < 600  # about as wide as the help panel


def test_the_pictures_are_those_that_are_drawn_and_used():
    there = {path.name for path in PICTURES.iterdir()}
    assert there == {f"{picture.name}.png" for picture in help_plans.pictures()}
    assert {f"images/{name}" for name in there} == {link for page in pages().values() for link in links(page)}


def test_what_is_published_is_small():
    files = [path for folder in ("web", "locales") for path in (ROOT / folder).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES_IN_ALL
