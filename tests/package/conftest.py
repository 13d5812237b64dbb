"""The package for the registry, made of the files that git tracks, and where a user's ComfyUI has it."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.comfyui.logged_commands import HostError
from devtools.comfyui.server import PACK_NAME
from devtools.publishing.package import comfy_cli, copy_tracked_files, pack


@pytest.fixture(scope="session")
def registry_client() -> Path:
    """The Python of comfy-cli's environment. Without the package index there is none, which is an error in CI only."""
    try:
        return comfy_cli()
    except HostError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no comfy-cli: {error}")


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a release would be made from: the files that git tracks, and nothing beside them."""
    return copy_tracked_files(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="session")
def package(checkout: Path, registry_client: Path) -> Path:
    return pack(checkout, registry_client)


@pytest.fixture(scope="session")
def names(package: Path) -> set[str]:
    """The files in the package."""
    with zipfile.ZipFile(package) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="session")
def base(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for ComfyUI to work in with the package installed as ComfyUI-Manager does it: unpacked, and no more."""
    folder = tmp_path_factory.mktemp("base")
    with zipfile.ZipFile(package) as archive:
        archive.extractall(folder / "custom_nodes" / PACK_NAME)
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("PYTHONPATH", raising=False)  # it could lead to the checkout
        yield folder


@pytest.fixture(scope="session")
def installed(base: Path) -> Path:
    """The folder that users have in custom_nodes."""
    return base / "custom_nodes" / PACK_NAME
