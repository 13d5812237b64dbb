"""The tests on every pinned ComfyUI, and on a folder of the user's, and a table of how they went.

Each run is `dev.py test --host VERSION`, or `--comfyui FOLDER`: all tests on the newest pinned release and, on the
others, those that touch the host: in pytest's process, on a server and in a browser. Paths among the arguments take the
place of all of these; `dev.py matrix tests` runs all tests everywhere. The table is made of what each run itself
reports.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

from devtools.comfyui.any_comfyui import version_of
from devtools.comfyui.choose import named_folder
from devtools.comfyui.fetch import DEFAULT_RELEASE, RELEASES, ROOT

TOUCH_THE_HOST = ("tests/host", "tests/server", "tests/browser")


@dataclass(frozen=True)
class Target:
    """A ComfyUI to run tests on: a pinned release, or what is in a `folder`."""

    version: str
    folder: Path | None = None

    def __str__(self) -> str:
        return f"{self.version} in {self.folder}" if self.folder else self.version

    @property
    def option(self) -> tuple[str, str]:
        return ("--comfyui", str(self.folder)) if self.folder else ("--host", self.version)

    def tests(self, arguments: Sequence[str]) -> tuple[str, ...]:
        """The paths to add to pytest's `arguments`; none means all tests, or those that the arguments name."""
        is_newest = self.folder is None and self.version == DEFAULT_RELEASE
        return () if is_newest or named_tests(arguments) else TOUCH_THE_HOST


@dataclass(frozen=True)
class Outcome:
    """How the tests on one target ended, and on what they say they ran."""

    target: Target
    tests: str
    status: int
    seconds: float
    versions: dict[str, str]
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    @property
    def good(self) -> bool:
        """Whether the tests passed, on the version that was asked for."""
        return self.status == 0 and self.versions.get("comfyui") == self.target.version


def main(arguments: Sequence[str], releases: Sequence[str] = tuple(RELEASES), comfyui: str | None = None) -> int:
    parser = argparse.ArgumentParser(prog="dev.py matrix", allow_abbrev=False)
    parser.add_argument("--jobs", type=int, choices=range(1, len(RELEASES) + 2), default=1)
    parser.add_argument("--older", action="store_true")
    chosen, for_pytest = parser.parse_known_args(arguments)
    targets = [Target(each) for each in releases if not (chosen.older and each == DEFAULT_RELEASE)]
    if comfyui is not None:
        folder = named_folder(comfyui)
        targets.insert(0, Target(version_of(folder), folder))
    with ThreadPoolExecutor(chosen.jobs) as pool:
        outcomes = list(pool.map(partial(run_tests, arguments=for_pytest, labelled=chosen.jobs > 1), targets))
    print(f"\n{table(outcomes)}")
    return 0 if all(each.good for each in outcomes) else 1


def run_tests(target: Target, arguments: Sequence[str], labelled: bool) -> Outcome:
    """Run the tests on one target; what they print comes `labelled` where others print at the same time."""
    tests = target.tests(arguments)
    shown = " ".join(tests or named_tests(arguments)) or "all"
    print(f"\n=== ComfyUI {target}: {shown}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, str(ROOT / "dev.py"), "test", *target.option, "-n0", f"--junitxml={report}"]
        started = time.monotonic()
        status = _run([*command, *arguments, *tests], f"{target.version} | " if labelled else None)
        return outcome(report, target, shown, status, time.monotonic() - started)


def _run(command: Sequence[str], label: str | None) -> int:
    if label is None:
        return subprocess.run(command, cwd=ROOT, check=False).returncode
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "encoding": "utf-8", "errors": "replace"}
    with subprocess.Popen(command, cwd=ROOT, **pipe) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(label + line, end="", flush=True)
    return process.returncode


def named_tests(arguments: Sequence[str]) -> list[str]:
    """The paths among pytest's arguments, as in tests/unit or tests/unit/test_rows.py::test_one."""
    return [word for word in arguments if not word.startswith("-") and (ROOT / word.split("::")[0]).exists()]


def outcome(report: Path, target: Target, tests: str, status: int, seconds: float) -> Outcome:
    """What pytest's JUnit file says; a run that ended before there was one has no numbers."""
    if not report.exists():
        return Outcome(target, tests, status, seconds, {})
    suite = ElementTree.parse(report).find("testsuite")
    assert suite is not None
    counts = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    failed = counts["failures"] + counts["errors"]
    passed = counts["tests"] - failed - counts["skipped"]
    versions = {each.get("name", ""): each.get("value", "") for each in suite.findall("properties/property")}
    return Outcome(target, tests, status, seconds, versions, passed, failed, counts["skipped"])


def table(outcomes: Sequence[Outcome]) -> str:
    """A Markdown table, a row a target."""
    columns = ("ComfyUI", "Python", "torch", "tests", "passed", "failed", "skipped", "time", "")
    rows = [columns, ("---",) * len(columns), *map(_cells, outcomes)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cells(each: Outcome) -> tuple[str, ...]:
    minutes, seconds = divmod(round(each.seconds), 60)
    versions = (each.versions.get(name, "-") for name in ("python", "torch"))
    counts = (str(count) for count in (each.passed, each.failed, each.skipped))
    return str(each.target), *versions, each.tests, *counts, f"{minutes}:{seconds:02}", "ok" if each.good else "FAILED"
