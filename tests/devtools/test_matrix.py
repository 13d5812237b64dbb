"""The tests on every release: what is run, and what the table says of it. dev.py is an imitation, pytest is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from devtools.comfyui import matrix
from devtools.comfyui.fetch import DEFAULT_RELEASE
from devtools.comfyui.logged_commands import HostError

OLD = "0.24.0"
FAKE_DEV = """
import os, sys
import pytest

command, option, release, *arguments = sys.argv[1:]
assert command == "test"
if option == "--comfyui":
    release = open(os.path.join(release, "comfyui_version.py")).read().split('"')[1]
else:
    assert option == "--host"
if release == os.environ.get("BROKEN"):
    sys.exit(1)
os.environ |= {"RELEASE": release, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # plugins take long to import
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-p", "xdist.plugin", *arguments]))
"""
CONFTEST = """
import os
import pytest

@pytest.fixture(scope="session", autouse=True)
def versions(record_testsuite_property):
    release = os.environ.get("RUN_BY", os.environ["RELEASE"])
    for name, value in {"comfyui": release, "python": "3.11.7", "torch": "2.11.0"}.items():
        record_testsuite_property(name, value)
"""
TESTS = {
    "unit/test_unit.py": "def test_one(): pass",
    "host/test_host.py": """
import os
import pytest

def test_two(): pass
def test_old():
    if os.environ["RELEASE"] == "0.24.0":
        pytest.skip("the host is old")
""",
    "server/test_server.py": """
import os

def test_three():
    assert os.environ["RELEASE"] != os.environ.get("BAD")
""",
    "browser/test_browser.py": "def test_four(): pass",
}


@pytest.fixture(autouse=True)
def _checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout with five tests."""
    monkeypatch.setattr(matrix, "ROOT", tmp_path)
    files = {"dev.py": FAKE_DEV, "tests/conftest.py": CONFTEST, "pytest.ini": "[pytest]\ntestpaths = tests\n"}
    for name, text in {**files, **{f"tests/{name}": text for name, text in TESTS.items()}}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def run(
    capfd: pytest.CaptureFixture[str], *arguments: str, comfyui: str | None = None
) -> tuple[int, dict[str, list[str]]]:
    """The status, and the table's cells by what is in its first column, without the time."""
    status = matrix.main(arguments, [DEFAULT_RELEASE, OLD], comfyui)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capfd.readouterr().out.splitlines()]
    cells = {row[0]: [*row[1:-2], row[-1]] for row in rows if row and row[0][:1].isdecimal()}
    return status, cells


def test_all_on_the_newest_and_the_hosts_tests_on_an_older_one(capfd: pytest.CaptureFixture[str]) -> None:
    status, rows = run(capfd)
    assert status == 0
    assert rows == {
        DEFAULT_RELEASE: ["3.11.7", "2.11.0", "all", "5", "0", "0", "ok"],
        OLD: ["3.11.7", "2.11.0", "tests/host tests/server tests/browser", "3", "0", "1", "ok"],
    }


def test_the_newest_can_be_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    status, rows = run(capfd, "--older")
    assert status == 0
    assert list(rows) == [OLD]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "ComfyUI"
    (folder / "comfy").mkdir(parents=True)
    (folder / "main.py").touch()
    (folder / "comfyui_version.py").write_text('__version__ = "0.99.1"', encoding="utf-8")
    return folder


def test_a_folder_beside_the_pinned_releases(capfd: pytest.CaptureFixture[str], folder: Path) -> None:
    status, rows = run(capfd, "--older", comfyui=str(folder))
    assert status == 0
    named = "tests/host tests/server tests/browser"
    assert rows == {
        f"0.99.1 in {folder}": ["3.11.7", "2.11.0", named, "4", "0", "0", "ok"],
        OLD: ["3.11.7", "2.11.0", named, "3", "0", "1", "ok"],
    }


def test_a_folder_that_is_no_comfyui_runs_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(HostError, match="is not a ComfyUI folder"):
        matrix.main([], [OLD], str(tmp_path))
    assert capfd.readouterr().out == ""


def test_named_tests_on_both(capfd: pytest.CaptureFixture[str]) -> None:
    status, rows = run(capfd, "-x", "tests/unit", "tests/host/test_host.py::test_two")
    named = "tests/unit tests/host/test_host.py::test_two"
    assert status == 0
    assert rows == {release: ["3.11.7", "2.11.0", named, "2", "0", "0", "ok"] for release in (DEFAULT_RELEASE, OLD)}


def test_options_go_to_pytest(capfd: pytest.CaptureFixture[str]) -> None:
    _, rows = run(capfd, "-k", "three or one")
    assert (rows[DEFAULT_RELEASE][3], rows[OLD][3]) == ("2", "1")


def test_a_failure_on_one_host_fails_the_whole(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAD", OLD)
    status, rows = run(capfd)
    assert status == 1
    assert rows[DEFAULT_RELEASE][-1] == "ok"
    assert rows[OLD][3:] == ["2", "1", "1", "FAILED"]


def test_a_host_that_cannot_be_set_up_fails_and_the_next_one_is_run(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKEN", DEFAULT_RELEASE)
    status, rows = run(capfd)
    assert status == 1
    assert rows[DEFAULT_RELEASE] == ["-", "-", "all", "0", "0", "0", "FAILED"]
    assert rows[OLD][-1] == "ok"


def test_several_at_a_time(capfd: pytest.CaptureFixture[str]) -> None:
    assert matrix.main(["--jobs", "2", "-k", "two"], [DEFAULT_RELEASE, OLD]) == 0
    lines = capfd.readouterr().out.splitlines()
    for release in (DEFAULT_RELEASE, OLD):
        assert [line for line in lines if line.startswith(f"{release} | ") and "1 passed" in line]
    assert [line.split(" | ")[0] for line in lines[-2:]] == [f"| {DEFAULT_RELEASE}", f"| {OLD}"]


def test_tests_that_ran_on_another_release_do_not_count(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUN_BY", "0.24.1")
    status, rows = run(capfd)
    assert status == 1
    assert rows[OLD][-1] == "FAILED"
