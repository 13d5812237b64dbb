"""What is in the package: all that the nodes need, and nothing that only their development needs."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from devtools.publishing.package import MAX_BYTES, report

TOP_LEVEL = {
    "__init__.py", "nodes", "shared_attention", "web", "locales", "workflows", "subgraphs",
    "pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE",
}  # fmt: skip
WHOLE = {"nodes", "shared_attention", "web", "locales", "workflows", "subgraphs"}
DEVELOPMENT = {"CONTRIBUTING.md", "tests", "toy", "devtools", "dev.py", "docs"}

_LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)|<img[^>]+src=\"([^\"]+)\"")


def links(text: str) -> list[str]:
    """The paths that a Markdown text leads to."""
    found = (markdown or html for markdown, html in _LINK.findall(text))
    return [link for link in found if "://" not in link]


def tracked(checkout: Path) -> set[str]:
    paths = (path for path in checkout.rglob("*") if path.is_file() and ".git" not in path.parts)
    return {path.relative_to(checkout).as_posix() for path in paths} - {"node.zip"}


def top(name: str) -> str:
    return name.split("/")[0]


def test_nothing_but_what_users_need(names):
    assert {top(name) for name in names} <= TOP_LEVEL
    assert {top(name) for name in names} >= TOP_LEVEL - {"locales"}


def test_what_the_nodes_need_is_whole(names, checkout):
    needed = {name for name in tracked(checkout) if top(name) in WHOLE}
    assert needed <= names
    help_pages = {name for name in names if re.fullmatch(r"web/docs/\w+\.md", name)}
    assert len(help_pages) >= 6


def test_what_is_left_out_is_development(names, checkout):
    left_out = {top(name) for name in tracked(checkout) - names}
    assert {name for name in left_out if not name.startswith(".")} <= DEVELOPMENT


def test_the_package_is_small(package, capsys):
    report(package)
    *_, in_all = capsys.readouterr().out.splitlines()
    files, unpacked, packed = (float(cell) for cell in re.findall(r"[\d.]+", in_all))
    with zipfile.ZipFile(package) as archive:
        assert files == len(archive.namelist())
        assert sum(member.file_size for member in archive.infolist()) < 2 * MAX_BYTES
    assert package.stat().st_size < MAX_BYTES
    assert packed < unpacked < 2 * MAX_BYTES / 1e3


def test_every_name_can_be_written_on_every_system(names):
    assert all(re.fullmatch(r"[A-Za-z0-9_.\-/ ]+", name) for name in names)
    assert len({name.lower() for name in names}) == len(names)
    assert max(map(len, names)) < 120


def test_help_pages_lead_nowhere_but_into_the_package(installed):
    pages = [path for folder in ("web", "workflows") for path in (installed / folder).rglob("*.md")]
    assert pages
    docs = installed / "web" / "docs"
    for page in pages:  # the browser looks for what a translated page links to where the English one lies
        folder = docs if page.is_relative_to(docs) else page.parent
        for link in links(page.read_text(encoding="utf-8")):
            assert (folder / link).resolve().is_relative_to(installed.resolve()), (page.name, link)
            assert (folder / link).is_file(), (page.name, link)


def test_the_readme_leads_to_what_is_there_or_to_the_pictures_that_stay_in_the_repository(installed, checkout):
    """Its pictures are large beside the code, and who reads it does so at the repository."""
    found = links((installed / "README.md").read_text(encoding="utf-8"))
    assert found
    for link in found:
        assert (checkout / link).exists(), link
        assert (installed / link).is_file() or top(link) in DEVELOPMENT, link
