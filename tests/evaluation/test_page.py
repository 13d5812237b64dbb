"""The pages take their tables from the command, and nothing else of them changes."""

from pathlib import Path

import pytest

from devtools.evaluation.page import MARKED, fill

PAGES = sorted((Path(__file__).resolve().parents[2] / "docs").glob("evaluation*.md"))
PAGE = "before\n<!-- evaluation: goals -->\nold\n<!-- end -->\nbetween\n<!-- evaluation-flux: goals -->\n<!-- end -->\n"


def test_only_marked_tables_of_the_name_change():
    filled = fill(PAGE, "evaluation", {"goals": "new", "style": "unasked"})
    assert filled == PAGE.replace("old", "new")
    assert fill(filled, "evaluation-flux", {"goals": "new"}).count("new") == 2
    assert fill(filled, "evaluation", {"goals": "new"}) == filled


def test_a_page_that_asks_for_an_unknown_table_is_refused():
    with pytest.raises(ValueError, match="a table 'goals'; of evaluation there are: style"):
        fill(PAGE, "evaluation", {"style": "new"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_table_of_a_page_is_written_by_hand(page: Path):
    """All that has intervals is between marks."""
    rest = MARKED.sub("", page.read_text(encoding="utf-8"))
    assert not [line for line in rest.splitlines() if line.startswith("|") and "±" in line]
