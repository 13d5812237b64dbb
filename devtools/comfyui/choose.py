"""Which ComfyUI to work with, and which Python runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from devtools.comfyui.any_comfyui import environment_for, is_served, requirements_of
from devtools.comfyui.fetch import HOST_FOLDER, RELEASES, Host, fetch, python_in
from devtools.comfyui.logged_commands import HostError

__all__ = ["Host", "HostError", "check_modules", "find", "find_or_fetch", "named_folder"]

CHECKOUT = Path(__file__).absolute().parents[2]  # not resolved: a checkout may be linked into custom_nodes
NEEDED_TO_RUN = ["torch", "aiohttp"]
NEEDED_TO_TEST = ["pytest", "pytest_timeout", "xdist", "hypothesis", "playwright", "ruff", "mypy"]


def find_or_fetch(comfyui: str | None, release: str | None = None) -> Host:
    """The ComfyUI the user names by its folder, or by the number of a pinned release, which is fetched at need.

    Where nothing is named: the one the checkout is installed in, else the newest pinned release.
    """
    if release:
        return fetch(release)
    return find(comfyui or os.environ.get("COMFYUI_PATH"), CHECKOUT) or fetch()


def find(named: str | None, checkout: Path) -> Host | None:
    """A ComfyUI that the user has: the named one, or the one around `checkout`."""
    around = checkout.parent.parent if checkout.parent.name == "custom_nodes" else None
    if named:
        folder = named_folder(named)
        return _fetched(folder) or _host(folder, folder == around)
    return _host(around, True) if around is not None and is_comfyui(around) else None


def named_folder(path: str) -> Path:
    """The ComfyUI folder that the user names. HostError where it is none."""
    folder = Path(path).expanduser().absolute()
    if not is_comfyui(folder):
        raise HostError(f"{folder} is not a ComfyUI folder: it has no main.py beside a folder comfy")
    return folder


def is_comfyui(folder: Path) -> bool:
    return (folder / "main.py").is_file() and (folder / "comfy").is_dir()


def _fetched(folder: Path) -> Host | None:
    """The pinned release in `folder`, which programs started by dev.py name by its folder."""
    version = folder.name.removeprefix("ComfyUI-")
    return fetch(version) if version in RELEASES and folder.resolve().parent == HOST_FOLDER.resolve() else None


def _host(folder: Path, is_around: bool) -> Host:
    """The ComfyUI with its own Python, else with the present one where that has its packages or the pack is installed
    in it, else with one that is made for it."""
    python = own_python(folder)
    if python is None and not is_around and not is_served(requirements_of(folder)):
        return environment_for(folder)
    host = Host(folder, python or Path(sys.executable))
    check_modules(host, NEEDED_TO_RUN, f'{host.python} -m pip install -r "{folder / "requirements.txt"}"')
    return host


def own_python(comfyui: Path) -> Path | None:
    """The Python of the environment inside a ComfyUI folder, or of the portable Windows build."""
    places = [python_in(comfyui / name) for name in ("venv", ".venv")]
    places.append(comfyui.parent / "python_embeded" / "python.exe")
    return next((place for place in places if place.is_file()), None)


def check_modules(host: Host, modules: Sequence[str], remedy: str) -> None:
    """HostError naming the modules that the host's Python lacks and the command that installs them."""
    code = "import importlib.util as u, sys; print(*[m for m in sys.argv[1:] if u.find_spec(m) is None])"
    try:
        answer = subprocess.run([host.python, "-c", code, *modules], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise HostError(f"{host.python}, the Python of {host.comfyui}, does not run: {error}") from error
    if lacking := answer.stdout.split():
        raise HostError(f"{host.python} lacks {', '.join(lacking)}; install with: {remedy}")
