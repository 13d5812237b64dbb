"""Which ComfyUI is chosen, and with which Python."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from devtools.comfyui import choose
from devtools.comfyui.choose import Host, HostError, check_modules, find, find_or_fetch, own_python
from devtools.comfyui.fetch import python_in


@pytest.fixture
def comfyui(tmp_path: Path) -> Path:
    folder = tmp_path / "ComfyUI"
    (folder / "comfy").mkdir(parents=True)
    (folder / "main.py").touch()
    (folder / "requirements.txt").write_text("pytest\n", encoding="utf-8")  # which this Python has
    (folder / "custom_nodes" / "pack").mkdir(parents=True)
    return folder


def add_python(environment: Path) -> Path:
    """A Python in `environment` that is the one running the tests, with all its modules."""
    python = python_in(environment)
    python.parent.mkdir(parents=True)
    if os.name == "nt":
        pytest.skip("a link to python.exe does not run on Windows")
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    return python


def test_a_named_comfyui_with_its_own_python(comfyui: Path, tmp_path: Path) -> None:
    python = add_python(comfyui / ".venv")
    assert find(str(comfyui), tmp_path) == Host(comfyui, python)


def test_a_named_comfyui_whose_packages_this_python_has(comfyui: Path, tmp_path: Path) -> None:
    assert find(str(comfyui), tmp_path) == Host(comfyui, Path(sys.executable))


def test_a_named_comfyui_whose_packages_this_python_lacks(
    comfyui: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Host(comfyui, tmp_path / "env" / "python")
    monkeypatch.setattr(choose, "environment_for", {comfyui: made}.__getitem__)
    (comfyui / "requirements.txt").write_text("pytest<1\n", encoding="utf-8")
    assert find(str(comfyui), tmp_path) is made
    # The one that the pack is installed in is run by whoever runs the pack, and its own environment goes before all.
    assert find(str(comfyui), comfyui / "custom_nodes" / "pack") == Host(comfyui, Path(sys.executable))
    assert find(str(comfyui), tmp_path) is made
    python = add_python(comfyui / "venv")
    assert find(str(comfyui), tmp_path) == Host(comfyui, python)


def test_the_folder_of_a_pinned_release_is_that_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = Host(tmp_path, Path(sys.executable))
    monkeypatch.setattr(choose, "HOST_FOLDER", tmp_path)
    monkeypatch.setattr(choose, "fetch", {"0.24.0": fetched}.__getitem__)
    folder = tmp_path / "ComfyUI-0.24.0"
    (folder / "comfy").mkdir(parents=True)
    (folder / "main.py").touch()
    assert find(str(folder), tmp_path) is fetched


def test_the_comfyui_around_the_checkout(comfyui: Path) -> None:
    assert find(None, comfyui / "custom_nodes" / "pack") == Host(comfyui, Path(sys.executable))


def test_no_comfyui_around_the_checkout(tmp_path: Path) -> None:
    assert find(None, tmp_path) is None
    assert find(None, tmp_path / "custom_nodes" / "pack") is None


def test_a_named_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="not a ComfyUI folder"):
        find(str(tmp_path), tmp_path)


def test_the_option_goes_before_the_variable(comfyui: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path / "nowhere"))
    assert find_or_fetch(str(comfyui)).comfyui == comfyui
    with pytest.raises(HostError, match="nowhere"):
        find_or_fetch(None)


def test_a_release_goes_before_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = Host(tmp_path, Path(sys.executable))
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path / "nowhere"))
    monkeypatch.setattr(choose, "fetch", {"0.24.0": fetched}.__getitem__)
    assert find_or_fetch(None, "0.24.0") is fetched


def test_nothing_found_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = Host(tmp_path, Path(sys.executable))
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.setattr(choose, "CHECKOUT", tmp_path)
    monkeypatch.setattr(choose, "fetch", lambda: fetched)
    assert find_or_fetch(None) is fetched


def test_which_python(tmp_path: Path) -> None:
    comfyui = tmp_path / "ComfyUI"
    assert own_python(comfyui) is None
    portable = tmp_path / "python_embeded" / "python.exe"
    portable.parent.mkdir()
    portable.touch()
    assert own_python(comfyui) == portable
    python_in(comfyui / ".venv").parent.mkdir(parents=True)
    python_in(comfyui / ".venv").touch()
    assert own_python(comfyui) == python_in(comfyui / ".venv")


def test_lacking_modules_are_named_with_the_remedy(tmp_path: Path) -> None:
    here = Host(tmp_path, Path(sys.executable))
    check_modules(here, ["json", "pytest"], "nothing")
    with pytest.raises(HostError, match=r"lacks absent_one, absent_two; install with: pip this"):
        check_modules(here, ["json", "absent_one", "absent_two"], "pip this")


def test_a_python_that_does_not_run(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="does not run"):
        check_modules(Host(tmp_path, tmp_path / "python"), ["json"], "nothing")
