"""The suite in two processes: what shares a server is in one of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from devtools import ROOT
from devtools.commands import TWO_PROCESSES

CONFTEST = """
import pytest
from processes import Together

@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return Together(config, log)
"""
TEST = """
import os
from pathlib import Path

def {name}():
    with open(Path(__file__).parents[2] / "ran", "a") as ran:
        print(Path(__file__).parent.name, os.getpid(), file=ran)
"""


def test_a_servers_tests_are_in_one_process_and_others_in_the_other(tmp_path: Path):
    tests = tmp_path / "tests"
    for file in ("server/test_a", "server/test_b", "server/test_c", "unit/test_a", "unit/test_b", "unit/test_c"):
        path = tests / f"{file}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(TEST.format(name=f"test_{number}") for number in range(4)), encoding="utf-8")
    (tests / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\n", encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    answer = subprocess.run(
        [sys.executable, "-m", "pytest", *TWO_PROCESSES, "tests"],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    ran = [line.split() for line in (tmp_path / "ran").read_text(encoding="utf-8").splitlines()]
    assert len(ran) == 24
    assert len({process for folder, process in ran if folder == "server"}) == 1
    assert len({process for _, process in ran}) == 2
