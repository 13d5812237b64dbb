"""The program that CI runs: it runs all tests, and fails where any of its runs does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from devtools import ROOT

FAKE_DEV = """
import os, sys
open("ran", "a").write(" ".join(sys.argv[1:]) + chr(10))
print("words of", sys.argv[1])
sys.exit(os.environ.get("BROKEN") == sys.argv[1])
"""

pytestmark = pytest.mark.skipif(os.name == "nt", reason="a program for bash")


@pytest.mark.parametrize("broken", ["", "test", "matrix"])
def test_a_failure_of_any_run_is_a_failure(tmp_path: Path, broken: str) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
    (tmp_path / "dev.py").write_text(FAKE_DEV, encoding="utf-8")
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "python").symlink_to(sys.executable)
    (programs / "chromium").symlink_to("/bin/true")  # nothing is to be installed
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "BROKEN": broken}
    answer = subprocess.run(
        [tmp_path / ".ci" / "run"], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert (answer.returncode != 0) is bool(broken), answer.stderr
    ran = (tmp_path / "ran").read_text(encoding="utf-8").splitlines()
    assert "test --all" in ran
    assert [line.split()[0] for line in sorted(ran)] == ["matrix", "test"]
    assert "words of matrix" in answer.stdout
