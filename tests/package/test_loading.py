"""Loading the pack registers its nodes and does nothing else: no network, no writes, no processes, no heavy imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from devtools.measuring.import_time import WITHOUT_NODES

PROGRAM = Path(__file__).with_name("loading.py")

# A pack that does everything it should not, while it is imported.
BUSY = f"""\
import socket, subprocess, sys, threading, wave
from pathlib import Path

here = Path(__file__).parent
(here / "settings.json").write_text("{{}}")
(here / "cache").mkdir()
socket.socket().close()
subprocess.run([sys.executable, "-c", ""])
threading.Thread(target=threading.Event().wait, name="busy", daemon=True).start()
{WITHOUT_NODES}"""


@pytest.fixture(scope="module")
def observed(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list[str]]]:
    """What the host saw of the package, of a pack that does too much, and of one that does nothing."""
    folder = tmp_path_factory.mktemp("loading")
    packs = {"package": installed, "busy": folder / "busy", "empty": folder / "empty"}
    for name, code in (("busy", BUSY), ("empty", WITHOUT_NODES)):
        packs[name].mkdir()
        (packs[name] / "__init__.py").write_text(code, encoding="utf-8")
    answer = subprocess.run(
        [sys.executable, PROGRAM, folder, *packs.values()],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    seen = json.loads(answer.stdout.splitlines()[-1])
    return {name: seen[str(pack)] for name, pack in packs.items()}


def test_loading_the_package_does_nothing_but_register_it(observed):
    assert observed["package"] == {"writes": [], "network": [], "processes": [], "threads": [], "modules": []}


def test_what_should_not_be_would_be_seen(observed):
    busy = observed["busy"]
    assert any("settings.json" in write for write in busy["writes"])
    assert any(write.startswith("os.mkdir") for write in busy["writes"])
    assert "socket.__new__" in busy["network"]
    assert any(process.startswith("subprocess.Popen") for process in busy["processes"])
    assert busy["threads"] == ["busy"]
    assert "wave" in busy["modules"]
    assert not any(observed["empty"].values())
