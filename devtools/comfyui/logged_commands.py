"""Running the programs of a set-up: one line on the screen, all they say in a log, one clear line if they fail."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path


class HostError(Exception):
    """There is no usable ComfyUI: one line that says why and what to do."""


AGAIN = "run the command again: what was finished is kept"
CAUSES = (  # what the installers say, and what it means; the first that matches counts
    (
        r"No space left on device|os error 28\b|not enough space on the disk",
        f"the disk is full; make room, then {AGAIN}",
    ),
    (
        r"ensurepip is not available|No module named '?(venv|ensurepip)",
        "this Python comes without its venv module; install it (Debian and Ubuntu: apt install python3-venv)",
    ),
    (r"DO NOT MATCH THE HASHES", "the downloaded file is not the expected one (its sha256 differs)"),
    (
        r"name resolution|Name or service not known|getaddrinfo|NewConnectionError|Network is unreachable"
        r"|ConnectTimeout|ReadTimeout|Connection refused|Connection reset|ProxyError|SSLError|dns error"
        r"|error sending request|[Ff]ailed to fetch|operation timed out",
        f"the package index was not reached; check the network and pip's index settings, then {AGAIN}",
    ),
    (
        r"No matching distribution|No solution found|not found in the package registry",
        "the package index does not have what is needed; check pip's index settings",
    ),
)
_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def cause(output: str) -> str:
    """What an installer's output means to a user; its last line where that is not known."""
    for pattern, meaning in CAUSES:
        if re.search(pattern, output):
            return meaning
    lines = output.strip().splitlines()
    return lines[-1].strip() if lines else "it said nothing"


class Downloads:
    """How far a run of uv has come, from what it says: `Downloading torch (506.0MiB)`, later ` Downloaded torch`."""

    def __init__(self) -> None:
        self.announced: dict[str, float] = {}
        self.finished: set[str] = set()

    def hear(self, line: str) -> str:
        """Take one line in; what to show after it, empty if the line says nothing new."""
        if found := re.match(r"\s*Downloading (\S+) \(([\d.]+)\s*(B|KiB|MiB|GiB)\)", line):
            self.announced[found[1]] = float(found[2]) * _UNITS[found[3]]
        elif (found := re.match(r"\s*Downloaded (\S+)", line)) and found[1] in self.announced:
            self.finished.add(found[1])
        elif re.match(r"\s*Prepared \d+ package", line):
            return "downloaded, installing"
        elif re.match(r"\s*Installed \d+ package", line):
            return "installed, compiling"
        else:
            return ""
        total = sum(self.announced.values())
        done = sum(self.announced[name] for name in self.finished)
        return f"{done / total:.0%} of {total / 1e9:.1f} GB downloaded" if total else ""


class Screen:
    """One line a step; what happens inside it is shown in place on a terminal and left out elsewhere."""

    def __init__(self) -> None:
        self._live = sys.stdout.isatty()
        self._width = 0

    def show(self, text: str, *, end: bool = False) -> None:
        if self._live:
            sys.stdout.write("\r" + text.ljust(self._width) + ("\n" if end else ""))
            self._width = 0 if end else len(text)
        elif end:
            sys.stdout.write(text + "\n")
        sys.stdout.flush()


class Steps:
    """Runs a set-up's programs; `environment` is added to theirs."""

    def __init__(self, log: Path, environment: dict[str, str] | None = None) -> None:
        self.log = log
        self.environment = environment or {}
        self.screen = Screen()

    def run(self, title: str, *command: object) -> str:
        """Run one program to its end and return what it said; HostError with the likely cause if it fails."""
        started = time.monotonic()
        self.screen.show(f"  {title} ...")
        status, output = self._run(title, [str(word) for word in command])
        if status != 0:
            self.screen.show(f"  {title}: failed", end=True)
            raise HostError(f"{title}: {cause(output)} (all the installer said: {self.log})")
        self.screen.show(f"  {title}: {time.monotonic() - started:.0f} s", end=True)
        return output

    def _run(self, title: str, command: list[str]) -> tuple[int, str]:
        downloads, said = Downloads(), []
        environment = {**os.environ, **self.environment}
        with (
            self.log.open("a", encoding="utf-8") as log,
            subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                encoding="utf-8", errors="replace",
            ) as process,
        ):  # fmt: skip
            log.write(f"$ {' '.join(command)}\n")
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    log.write(line)
                    said.append(line)
                    if news := downloads.hear(line):
                        self.screen.show(f"  {title}: {news}")
            except BaseException:  # Ctrl-C: the installer must not go on alone
                process.terminate()
                raise
        return process.returncode, "".join(said)
