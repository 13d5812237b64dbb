"""A Python for any ComfyUI folder, such as a git checkout of a newer release: from its own requirements.txt."""

from __future__ import annotations

import hashlib
import re
from importlib import metadata
from pathlib import Path

from devtools.comfyui.fetch import DEFAULT_RELEASE, HOST_FOLDER, RELEASES, REQUIREMENTS, Host, Setup, set_up
from devtools.comfyui.logged_commands import HostError, Steps

TOGETHER = ("torch", "torchvision", "torchaudio")
"""Left free, they come from builds for different versions of CUDA, and torchaudio cannot be imported."""


def version_of(comfyui: Path) -> str:
    """What `comfyui_version.py` says. HostError where there is none."""
    file = comfyui / "comfyui_version.py"
    found = re.search(r'__version__ = "(.+)"', file.read_text(encoding="utf-8")) if file.is_file() else None
    if found is None:
        raise HostError(f"{comfyui} does not say its version: it has no comfyui_version.py with a __version__")
    return found[1]


def environment_for(comfyui: Path, folder: Path = HOST_FOLDER, steps: Steps | None = None) -> Host:
    """The ComfyUI with an environment in `folder`, made of its requirements; made anew where these have changed."""
    requirements = requirements_of(comfyui)
    # One environment a place, so that a checkout that is updated leaves none behind.
    name = f"{comfyui.name}-{hashlib.sha256(str(comfyui).encode()).hexdigest()[:8]}"
    title = f"an environment for ComfyUI {version_of(comfyui)} ({comfyui})"
    return set_up(Setup(title, comfyui, folder, name, requirements, pins(requirements), steps))


def requirements_of(comfyui: Path) -> Path:
    requirements = comfyui / "requirements.txt"
    if not requirements.is_file():
        raise HostError(f"{comfyui} has no requirements.txt, so that nobody knows which packages it needs")
    return requirements


def pins(requirements: Path) -> tuple[str, ...]:
    """The packages that the pack's own tests need and the builds of torch, in the versions of the newest release.

    Where `requirements` ask for some build of torch, torch is left to them.
    """
    own = {name for file in ("development.txt", "evaluation.txt") for name in names_in(REQUIREMENTS / file)}
    text = requirements.read_text(encoding="utf-8")
    if not any(re.search(rf"^{name}\s*[=<>~!@]", text, re.MULTILINE) for name in TOGETHER):
        own |= {*TOGETHER}
    lines = RELEASES[DEFAULT_RELEASE].requirements.read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if line.split("==")[0] in own)


def names_in(requirements: Path) -> list[str]:
    lines = requirements.read_text(encoding="utf-8").splitlines()
    return [re.split("[>=]", line)[0] for line in lines if line and not line.startswith("#")]


def is_served(requirements: Path) -> bool:
    """Whether the Python that runs this has all that `requirements` ask for."""
    try:
        from packaging.requirements import InvalidRequirement, Requirement  # among ComfyUI's own needs
    except ImportError:
        return False
    lines = (line.split("#")[0].strip() for line in requirements.read_text(encoding="utf-8").splitlines())
    try:
        asked = [Requirement(line) for line in lines if line and not line.startswith("-")]
        return all(
            each.specifier.contains(metadata.version(each.name), prereleases=True)
            for each in asked
            if each.marker is None or each.marker.evaluate()
        )
    except (InvalidRequirement, metadata.PackageNotFoundError):
        return False
