"""The pages for readers: their tables, numbers' files and pictures are the command's, their words are not."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

MARKED = re.compile(r"(<!-- (?P<name>[\w-]+): (?P<table>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def fill(text: str, name: str, tables: Mapping[str, str]) -> str:
    """The page with each `<!-- NAME: TABLE -->` to `<!-- end -->` of this name holding that table.

    Raises ValueError where the page asks for a table that was not made.
    """

    def filled(marked: re.Match[str]) -> str:
        if marked["name"] != name:
            return marked[0]
        if marked["table"] not in tables:
            raise ValueError(f"the page has a table {marked['table']!r}; of {name} there are: {', '.join(tables)}.")
        return f"{marked[1]}{tables[marked['table']]}\n{marked[4]}"

    return MARKED.sub(filled, text)


def publish(made: Path, tables: Mapping[str, str], docs: Path) -> None:
    """Bring what was made (`made`.json, `made`-*.png, tables) to the pages of `docs` and its folder of images."""
    shutil.copy(made.with_suffix(".json"), docs)
    for page in docs.glob("evaluation*.md"):
        text = page.read_text(encoding="utf-8")
        page.write_text(fill(text, made.name, tables), encoding="utf-8")
        for picture in (made.with_name(f"{made.name}-{of}.png") for of in ("scatter", "sets")):
            if picture.name in text:
                shutil.copy(picture, docs / "images")
