"""The pages for readers of the repository: what they lead to and name is there."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from devtools.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "toy" / "README.md"]
TEMPLATES = {path.stem for path in (ROOT / "workflows").glob("*.json")}
MOST_BYTES = 300_000

_LINK = re.compile(r"\[(?P<text>[^][]*)\]\((?P<path>[^)#\s]*)(?:#(?P<heading>[^)\s]+))?\)")
_FENCE = re.compile(r"^```.*?^```$", re.M | re.S)

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@cache
def text_of(page: Path) -> str:
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> Iterator[tuple[str, Path, str | None]]:
    """(text, file or folder, heading) of each link that stays in the repository."""
    for found in _LINK.finditer(text_of(page)):
        if "://" not in found["path"]:
            target = (page.parent / found["path"]).resolve() if found["path"] else page
            yield found["text"], target, found["heading"]


def headings(page: Path) -> set[str]:
    """As GitHub makes links of them."""
    titles = re.findall(r"^#+ (.+)$", text_of(page), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@cache
def defined_in(file: Path) -> set[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, kinds)}


@each_page
def test_links_lead_to_what_is_there(page: Path):
    for text, target, heading in links(page):
        assert target.is_relative_to(ROOT), text
        assert target.exists(), (text, target)
        assert heading is None or heading in headings(target), (text, heading)


@each_page
def test_pictures_are_described_and_small(page: Path):
    for text, path in re.findall(r"!\[([^]]*)\]\(([^)\s]+)\)", text_of(page)):
        assert text, path
        assert (page.parent / path).stat().st_size < MOST_BYTES, path


@each_page
def test_a_name_that_is_linked_to_code_is_defined_there(page: Path):
    for text, target, _ in links(page):
        if target.suffix == ".py" and text.startswith("`"):
            assert text.strip("`") in defined_in(target), (text, target)


def test_equations_are_linked_to_code_and_tests():
    files = [target for _, target, _ in links(ROOT / "docs" / "method.md") if target.suffix == ".py"]
    assert sum(file.is_relative_to(ROOT / "shared_attention") for file in files) > 10
    assert sum(file.is_relative_to(ROOT / "tests") for file in files) > 10


@each_page
def test_commands_can_be_given(page: Path):
    for name in re.findall(r"\bdev\.py (\w+)", text_of(page)):
        assert name in COMMANDS, name
    for module in re.findall(r"\bpython -m\s+(devtools[\w.]*\w)", text_of(page)):
        assert importlib.util.find_spec(module), module
    for path in re.findall(r"(?<![\w/])tests/[\w/]+(?:\.\w+)?", text_of(page)):
        assert (ROOT / path).exists(), path


def test_every_template_has_a_place_and_no_other_is_promised():
    pages = [text_of(page) for page in PAGES if page.name != "CHANGELOG.md"]
    assert {name for name in TEMPLATES if not any(f"`{name}`" in page for page in pages)} == set()
    promised = re.findall(r"^\*\*Ready-made\*\*: .+(?:\n.+)*", "\n\n".join(pages), re.M)
    assert len(promised) > 5
    assert {name for text in promised for name in re.findall(r"`(\w+)`", text)} <= TEMPLATES


def test_the_readme_has_every_node():
    locale = json.loads((ROOT / "locales" / "en" / "nodeDefs.json").read_text(encoding="utf-8"))
    names = {node["display_name"].removeprefix("Style Aligned: ") for node in locale.values()}
    rows = re.findall(r"^\| (\*\*.+?) \|", text_of(ROOT / "README.md"), re.M)
    assert sorted(name for row in rows for name in re.findall(r"\*\*\[(.+?)\]\(", row)) == sorted(names)


def sampler_of(template: str) -> dict[str, Any]:
    graph = json.loads((ROOT / "workflows" / f"{template}.json").read_text(encoding="utf-8"))
    (values,) = (node["widgets_values"] for node in graph["nodes"] if node["type"] == "KSampler")
    return dict(zip(("seed", "after", "steps", "cfg", "sampler", "scheduler"), values[:6], strict=True))


def test_the_samplers_settings_are_the_templates():
    page = text_of(ROOT / "docs" / "samplers-and-cfg.md")
    rows = re.findall(r"^\| `(\w+)`.*? \| (\d+) \| (\w+), (\w+) \| ([\d.]+)", page, re.M)
    assert len(rows) > 5
    for template, steps, sampler, scheduler, cfg in rows:
        given = sampler_of(template)
        assert (int(steps), float(cfg)) == (given["steps"], given["cfg"]), template
        assert (sampler, scheduler) == (given["sampler"], given["scheduler"]), template
