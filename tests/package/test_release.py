"""The check before a release, on copies of the files that it reads."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from devtools.publishing.release import changes, code_version, main, problems, project

ROOT = Path(__file__).resolve().parents[2]
VERSION = project()["project"]["version"]
REPOSITORY = "https://example.org/someone/style-aligned"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("pyproject.toml", "CHANGELOG.md", "shared_attention/version.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_the_version_is_the_same_everywhere_and_has_its_changes():
    assert code_version() == VERSION
    assert next(iter(changes())) == VERSION
    assert not problems(VERSION)


def test_what_is_new_is_printed(capsys):
    assert main([f"v{VERSION}"]) == 0
    printed = capsys.readouterr().out.strip()
    assert printed == changes()[VERSION]
    assert printed.startswith("- ")
    assert "##" not in printed


def test_another_version_is_missing_everywhere(capsys):
    assert main(["99.0.0"]) == 1
    pyproject, code, changelog = capsys.readouterr().err.splitlines()
    assert pyproject == f"error: pyproject.toml says version {VERSION}, not 99.0.0"
    assert code == f"error: shared_attention/version.py says version {VERSION}, not 99.0.0"
    assert "CHANGELOG.md says nothing under a heading '## 99.0.0'" in changelog


@pytest.mark.parametrize("file", ["pyproject.toml", "shared_attention/version.py"])
def test_a_version_forgotten_in_one_file(root, file):
    edit(root / file, f'"{VERSION}"', '"0.0.9"')
    assert problems(VERSION, root=root) == [f"{file} says version 0.0.9, not {VERSION}"]


def test_changes_without_words_or_out_of_order(root):
    edit(root / "CHANGELOG.md", f"## {VERSION}", f"## 99.0.0\n\n## {VERSION}")
    assert problems(VERSION, root=root) == [f"CHANGELOG.md has 99.0.0 above {VERSION}"]
    assert "CHANGELOG.md says nothing under a heading '## 99.0.0'" in problems("99.0.0", root=root)


def test_the_repository_has_to_be_named(root):
    urls = f'\n[project.urls]\nRepository = "{REPOSITORY}"\n'
    without = root / "pyproject.toml"
    text = without.read_text(encoding="utf-8").replace("[project.urls]", "[project.other]")
    without.write_text(text, encoding="utf-8")
    [problem] = problems(VERSION, REPOSITORY, root)
    assert f'Repository = "{REPOSITORY}"; it has none' in problem
    without.write_text(text + urls, encoding="utf-8")
    assert not problems(VERSION, REPOSITORY, root)
    assert "it has https" in problems(VERSION, f"{REPOSITORY}-fork", root)[0]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib is younger than this Python")
def test_it_needs_nothing_but_python():
    answer = subprocess.run(
        [sys.executable, "-S", "-m", "devtools.publishing.release", VERSION],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == changes()[VERSION]
