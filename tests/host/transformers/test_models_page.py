"""The table of docs/models.md is what the families say, on this ComfyUI."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest
from comfyui_version import __version__ as HOST
from registry import SUPPORTED
from style_aligned.shared_attention.host import families

from devtools.comfyui.fetch import RELEASES

PAGE = Path(__file__).resolve().parents[3] / "docs" / "models.md"


class Row(NamedTuple):
    shared: str
    releases: str


def table() -> dict[str, Row]:
    """By the name of the family, which is in bold."""
    rows = re.findall(r"^\| \*\*(.+?)\*\*.*? \| (.+?) \| (.+?) \|$", PAGE.read_text(encoding="utf-8"), re.M)
    return {name: Row(shared, releases) for name, shared, releases in rows}


def test_it_has_every_family_with_what_it_shares() -> None:
    unets, *transformers = table().items()
    assert unets == ("Stable Diffusion 1.x, 2.x, SDXL", Row("all", "all"))
    defaults = {family.name: family.shared_by_default for family in families.TRANSFORMERS}
    assert {name: row.shared for name, row in transformers} == {
        name: f"`{blocks}`" if blocks else "all" for name, blocks in defaults.items()
    }


@pytest.mark.skipif(HOST not in RELEASES, reason="the table is about the pinned releases")
def test_it_says_which_families_this_release_has() -> None:
    here = {families.find(variant.model().model.diffusion_model).name for variant in SUPPORTED.values()}

    _, *transformers = table().items()
    assert {name for name, row in transformers if row.releases == "all" or HOST in row.releases.split(", ")} == here
