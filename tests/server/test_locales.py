"""The texts in the browser's language: English is the schemas' own, the translations are whole and keep up with it.

After a change of the schemas' texts: UPDATE_SNAPSHOTS=1 python dev.py test tests/server/test_locales.py
writes the English; then renew what the tests name in the translations.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
from schemas import inputs, pack_nodes

from devtools import ROOT

LOCALES = ROOT / "locales"
TRANSLATED = ["ja", "zh"]
SAME_IN_ALL = {"cfg", "clip", "Latent"}  # names of inputs and outputs
SCRIPT = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")  # kana and Chinese characters
SYNTAX = re.compile(
    r"[{}@|]"
)  # of the browser's translator, which some versions of it leave as it is and others take out

Texts = dict[tuple[str, ...], str]


def node_defs(language: str) -> dict[str, Any]:
    return json.loads((LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8"))


def texts(language: str) -> Texts:
    return dict(flat(node_defs(language)))


def flat(value: Any, *path: str) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from flat(item, *path, key)
    else:
        yield path, value


def english(schema: dict[str, Any]) -> dict[str, Any]:
    """What the browser shows of a node that has no translation."""
    outputs = zip(schema["output_name"], schema["output_tooltips"] or [], strict=True)
    return {
        "display_name": schema["display_name"],
        "description": schema["description"],
        "inputs": {name: {"name": name, "tooltip": spec[1]["tooltip"]} for name, spec in inputs(schema).items()},
        "outputs": {str(place): {"name": name, "tooltip": tooltip} for place, (name, tooltip) in enumerate(outputs)},
    }


def test_english_is_the_schemas_own(object_info):
    current = {name: english(schema) for name, schema in sorted(pack_nodes(object_info).items())}
    if os.environ.get("UPDATE_SNAPSHOTS"):
        content = json.dumps(current, indent=2, ensure_ascii=False) + "\n"
        (LOCALES / "en" / "nodeDefs.json").write_text(content, encoding="utf-8")
    assert node_defs("en") == current


def test_there_are_these_languages():
    assert sorted(path.name for path in LOCALES.iterdir()) == sorted(["en", *TRANSLATED])


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_text_is_translated_and_no_other(language: str):
    translated, original = texts(language), texts("en")
    assert sorted(translated) == sorted(original)
    left = {path: text for path, text in translated.items() if not SCRIPT.search(text)}
    assert {text for path, text in left.items() if path[-1] == "name"} <= SAME_IN_ALL
    assert {path[-1] for path in left} <= {"name"}


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_translation_says_the_same_numbers_and_names(language: str):
    """So a number that changes in English alone is noticed."""
    translated, original = texts(language), texts("en")
    names = {text for path, text in original.items() if path[-1] == "name"}  # which a translation has in its own words
    for path, text in original.items():
        if path[-1] != "name":
            assert facts(text) - names <= facts(translated[path]), path


def facts(text: str) -> set[str]:
    """The numbers of a text and the words that no language changes: names with an underscore, blocks, placeholders."""
    numbers = re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.]*\d)", text)
    return {*numbers, *re.findall(r"%\w+%|[a-z]+_[a-z_]+|(?:input|output)\.[\d-]+", text)}


@pytest.mark.parametrize("language", ["en", *TRANSLATED])
def test_texts_show_as_they_are_written(language: str):
    broken = {path: text for path, text in flat(node_defs(language)) if SYNTAX.search(text) or text != text.strip()}
    assert not broken


def test_the_server_gives_them_to_the_browser(server):
    served = server.get("/i18n")
    assert {language: served[language]["nodeDefs"] for language in ("en", *TRANSLATED)} == {
        language: node_defs(language) for language in ("en", *TRANSLATED)
    }
