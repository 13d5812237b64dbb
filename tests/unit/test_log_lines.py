"""docs/sharing-in-graphs.md quotes what the log says: each quotation is a message of the code, "…" what it fills in."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "sharing-in-graphs.md"


def messages(node: ast.AST) -> Iterator[str]:
    """The texts of a module, "…" for what is filled in."""
    for each in ast.walk(node):
        if isinstance(each, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in each.values)
        elif isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each.value.replace("%s", "…")


def quoted() -> list[str]:
    """The first column of the page's last table."""
    rows = re.findall(r"^\| (.+?) \|", PAGE.read_text(encoding="utf-8").split("## What the log says")[1], re.M)
    return rows[1:]


def test_quoted_lines_are_the_codes_own() -> None:
    files = [*(ROOT / "shared_attention").rglob("*.py"), *(ROOT / "nodes").glob("*.py")]
    said = [text for file in files for text in messages(ast.parse(file.read_text(encoding="utf-8")))]
    assert quoted()
    assert [line for line in quoted() if not any(line in text for text in said)] == []
