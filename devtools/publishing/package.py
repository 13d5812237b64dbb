"""The package that users get from the Comfy registry: checked and packed by the registry's own client, comfy-cli.

    python -m devtools.publishing.package

leaves it in output/. It is made from the files that git tracks, as they are at the moment: what a release is made from.
comfy-cli has an environment of its own in .host/: two dozen packages that neither ComfyUI nor the tests need.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

from devtools import ROOT
from devtools.comfyui.fetch import HOST_FOLDER, REQUIREMENTS, Environment, exclusive, python_in
from devtools.comfyui.logged_commands import HostError, Steps

OUTPUT = ROOT / "output"
ARCHIVE = "node.zip"  # how comfy-cli names it
MAX_BYTES = 2_000_000


class PackageError(Exception):
    """comfy-cli found something wrong."""


def comfy_cli(folder: Path = HOST_FOLDER) -> Path:
    """The Python of comfy-cli's environment in `folder`; made if it is not there."""
    version = f"py{sys.version_info.major}.{sys.version_info.minor}"
    environment = Environment(folder / f"comfy-cli-{version}", REQUIREMENTS / "comfy-cli.txt")
    if not environment.finished():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with exclusive(folder / "lock"):
                if not environment.finished():  # another process may have done it meanwhile
                    _make(environment, Steps(folder / "setup.log"))
        except OSError as error:
            raise HostError(f"comfy-cli could not be set up in {folder}: {error}") from error
    return python_in(environment.folder)


def _make(environment: Environment, steps: Steps) -> None:
    environment.clear()
    steps.run("environment for comfy-cli", sys.executable, "-m", "venv", environment.folder)
    install = ["-m", "pip", "install", "--disable-pip-version-check", "--retries", "2"]
    steps.run("comfy-cli", python_in(environment.folder), *install, "--requirement", environment.requirements)
    environment.stamp()


def copy_tracked_files(target: Path) -> Path:
    """The files of this checkout that git tracks, as they are now, as a new repository: `target`, which is returned."""
    listed = _git(ROOT, "ls-files", "-z").split("\0")
    for name in filter(None, listed):
        if (ROOT / name).is_file():  # one that was removed is tracked until that is committed
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    _git(target, "init", "--quiet")
    _git(target, "add", "--all", "--force")
    return target


def _git(folder: Path, *words: str) -> str:
    try:
        answer = subprocess.run(["git", *words], cwd=folder, capture_output=True, encoding="utf-8", check=True)
    except OSError as error:
        raise HostError(f"git does not run, and the package is made of the files that it tracks: {error}") from error
    except subprocess.CalledProcessError as error:
        raise HostError(f"git {words[0]} failed in {folder}: {error.stderr.strip()}") from error
    return answer.stdout


def validate(checkout: Path, python: Path) -> str:
    """What comfy-cli says of publishing the pack at `checkout`; PackageError where it would not."""
    return _comfy(python, checkout, "node", "validate")


def pack(checkout: Path, python: Path) -> Path:
    """The package of the pack at `checkout`, made there; PackageError where a file is left out unasked."""
    said = _comfy(python, checkout, "node", "pack")
    if "Not including" in said:  # git quotes names that are not ASCII, and comfy-cli looks for the quoted name
        raise PackageError(f"files would be missing from the package:\n{said}")
    return checkout / ARCHIVE


def _comfy(python: Path, checkout: Path, *words: str) -> str:
    # Its settings and logs are nobody's, and it is told not to send statistics home.
    with tempfile.TemporaryDirectory(prefix="style-aligned-") as home:
        environment = {**os.environ, "HOME": home, "USERPROFILE": home, "DO_NOT_TRACK": "1", "PYTHONUTF8": "1"}
        answer = subprocess.run(
            [python, "-m", "comfy_cli", "--skip-prompt", *words],
            cwd=checkout,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
    if answer.returncode != 0:
        raise PackageError(f"comfy {' '.join(words)} failed:\n{answer.stdout}")
    return answer.stdout


def report(package: Path) -> None:
    """A Markdown table of what is in the package."""
    files, unpacked, packed = Counter[str](), Counter[str](), Counter[str]()
    with zipfile.ZipFile(package) as archive:
        for member in archive.infolist():
            top = member.filename.split("/")[0] + "/" * ("/" in member.filename)
            files[top] += 1
            unpacked[top] += member.file_size
            packed[top] += member.compress_size
    print("| name | files | KB | KB packed |\n|---|---|---|---|")
    for top in sorted(files):
        print(f"| {top} | {files[top]} | {unpacked[top] / 1e3:.1f} | {packed[top] / 1e3:.1f} |")
    size = package.stat().st_size
    print(f"| in all | {files.total()} | {unpacked.total() / 1e3:.1f} | {size / 1e3:.1f} |")


def main() -> int:
    try:
        python = comfy_cli()
        with tempfile.TemporaryDirectory(prefix="style-aligned-") as folder:
            checkout = copy_tracked_files(Path(folder))
            print(validate(checkout, python))
            OUTPUT.mkdir(exist_ok=True)
            package = Path(shutil.copy2(pack(checkout, python), OUTPUT))
    except (HostError, PackageError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    report(package)
    print(f"\n{package}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
