"""dev.py's command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from devtools import ROOT, commands
from devtools.comfyui.choose import Host, HostError
from devtools.commands import main


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None, list[str]]]:
    """What would be started: (module, named ComfyUI or release, arguments)."""
    calls: list[tuple[str, str | None, list[str]]] = []
    named: list[str | None] = []

    def find(comfyui: str | None, release: str | None) -> Host:
        named.append(comfyui or release)
        return Host(Path("ComfyUI"), Path(sys.executable))

    def hand_over(command: commands.Command, _: Host, arguments: list[str]) -> int:
        calls.append((command.module, named[-1], arguments))
        return 3

    monkeypatch.setattr(commands, "find_or_fetch", find)
    monkeypatch.setattr(commands, "_hand_over", hand_over)
    return calls


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("test", ("pytest", None, [])),
        ("test tests/unit -k adain --lf", ("pytest", None, ["tests/unit", "-k", "adain", "--lf"])),
        ("test -- -h", ("pytest", None, ["--", "-h"])),
        ("--comfyui here test -x", ("pytest", "here", ["-x"])),
        ("test -x --comfyui here", ("pytest", "here", ["-x"])),
        ("test --host 0.24.0 -x", ("pytest", "0.24.0", ["-x"])),
        ("--host=0.30.0 serve --port 80", ("devtools.comfyui.serve", "0.30.0", ["--port", "80"])),
        ("bench --size 512", ("devtools.measuring.bench", None, ["--size", "512"])),
        ("demo --steps 4 --seed 2", ("devtools.demo", None, ["--steps", "4", "--seed", "2"])),
        ("serve --port 80", ("devtools.comfyui.serve", None, ["--port", "80"])),
        ("train --steps 9", ("toy.train", None, ["--steps", "9"])),
        ("evaluate --sets 9", ("devtools.evaluate", None, ["--sets", "9"])),
    ],
)
def test_what_is_started(
    handed: list[tuple[str, str | None, list[str]]], words: str, expected: tuple[str, str | None, list[str]]
) -> None:
    assert main(words.split()) == 3
    assert handed == [expected]


def test_the_matrix_is_told_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    monkeypatch.setattr(commands.matrix, "main", lambda arguments, comfyui: told.extend([arguments, comfyui]) or 3)
    assert main(["matrix", "--comfyui", "here", "--older", "-x"]) == 3
    assert told == [["--older", "-x"], "here"]


@pytest.mark.parametrize(
    "words",
    [
        *("", "dance", "demo --step 3", "demo --steps many", "serve there"),
        *("test --host 0.1", "test --host 0.24.0 --comfyui here", "matrix --host 0.24.0"),
    ],
)
def test_a_bad_command_line_starts_nothing(handed: list[tuple[str, str | None, list[str]]], words: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    assert ended.value.code == 2
    assert handed == []


def test_a_host_error_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def find(*_: str | None) -> Host:
        raise HostError("no network")

    monkeypatch.setattr(commands, "find_or_fetch", find)
    assert main(["test"]) == 1
    assert capsys.readouterr().err == "error: no network\n"


def test_help_needs_nothing() -> None:
    answer = subprocess.run([sys.executable, ROOT / "dev.py", "--help"], capture_output=True, text=True, check=True)
    for name in commands.COMMANDS:
        assert f"\n    {name} " in answer.stdout


@pytest.mark.parametrize("status", [0, 5])
def test_the_programs_status_is_that_of_dev_py(tmp_path: Path, status: int) -> None:
    (tmp_path / "program.py").write_text(
        f"import os, sys; assert sys.argv[1:] == ['5'] and os.environ['COMFYUI_PATH'] == 'there'; sys.exit({status})"
    )
    code = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from devtools.commands import Command, _hand_over
from devtools.comfyui.choose import Host
sys.exit(_hand_over(Command("program", ""), Host(Path("there"), Path(sys.executable)), ["5"]))
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False).returncode == status


@pytest.mark.parametrize(
    ("words", "is_split", "is_every_day"),
    [
        ("", True, True),
        ("-q --durations=5", True, True),
        ("-q -k adain", True, False),
        ("-m thorough", True, False),
        ("tests/unit", False, False),
        ("tests/unit/test_rows.py::test_rows_of_a_call -q", False, False),
        ("-n0", False, True),
        ("--numprocesses 4", False, True),
        ("--pdb", False, True),
    ],
)
@pytest.mark.parametrize("all_of_them", [False, True])
def test_what_of_the_suite_runs_and_in_how_many_processes(
    words: str, is_split: bool, is_every_day: bool, all_of_them: bool
) -> None:
    given = words.split()
    found = commands.COMMANDS["test"].of_arguments([*given, *(("--all",) if all_of_them else ())])
    chosen = commands.EVERY_DAY if is_every_day and not all_of_them else ()
    assert found == [*(commands.TWO_PROCESSES if is_split else ()), *chosen, *given]


@pytest.mark.parametrize(
    ("words", "needed"), [("--sets 2", ("matplotlib",)), ("--checkpoint mine", ()), ("--checkpoint=mine", ())]
)
def test_only_the_icon_models_evaluation_draws_a_plot(words: str, needed: tuple[str, ...]) -> None:
    assert commands.COMMANDS["evaluate"].needs(words.split()) == needed
