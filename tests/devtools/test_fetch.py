"""Fetching the host: whole or not at all, whatever happens on the way."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tarfile
from pathlib import Path, PurePosixPath

import pytest

from devtools.comfyui import fetch
from devtools.comfyui.fetch import (
    DEFAULT_RELEASE,
    RELEASES,
    REQUIREMENTS,
    Environment,
    ReleaseSetup,
    extract,
    index_settings,
    python_in,
)
from devtools.comfyui.logged_commands import HostError

FAKE_SETUP = Path(__file__).with_name("fake_setup.py")
STEPS = 6


def set_up(folder: Path, *die_in: int) -> int:
    options = [f"--die-in={step}" for step in die_in]
    return subprocess.run([sys.executable, FAKE_SETUP, folder, *options], check=False).returncode


def steps_taken(folder: Path) -> list[str]:
    return (folder / "setup.log").read_text(encoding="utf-8").splitlines()


def assert_whole(folder: Path) -> None:
    setup = ReleaseSetup(RELEASES[DEFAULT_RELEASE], folder)
    assert setup.finished()
    files = {path.relative_to(setup.source).as_posix() for path in setup.source.rglob("*") if path.is_file()}
    assert files == {"main.py", "comfy/model.py", "models/checkpoints/readme"}
    assert setup.host.python.exists()
    assert not list(folder.glob("tmp-*"))


def test_a_set_up_is_made_once(tmp_path: Path) -> None:
    assert set_up(tmp_path) == 0
    assert_whole(tmp_path)
    assert len(steps_taken(tmp_path)) == STEPS
    assert set_up(tmp_path) == 0
    assert len(steps_taken(tmp_path)) == STEPS


@pytest.mark.parametrize("step", range(STEPS))
def test_a_set_up_killed_in_any_step_is_completed_by_the_next(tmp_path: Path, step: int) -> None:
    assert set_up(tmp_path, step) == 9
    assert not ReleaseSetup(RELEASES[DEFAULT_RELEASE], tmp_path).finished()
    assert set_up(tmp_path) == 0
    assert_whole(tmp_path)


def test_finished_stages_are_not_repeated(tmp_path: Path) -> None:
    set_up(tmp_path, STEPS - 2)
    done = steps_taken(tmp_path)
    set_up(tmp_path)
    again = steps_taken(tmp_path)[len(done) :]
    assert "installer" in done
    assert "installer" not in again
    assert not [title for title in again if title.startswith("ComfyUI 0")]


def test_two_set_ups_at_once_make_one(tmp_path: Path) -> None:
    first, second = (subprocess.Popen([sys.executable, FAKE_SETUP, tmp_path]) for _ in range(2))
    assert (first.wait(30), second.wait(30)) == (0, 0)
    assert_whole(tmp_path)
    assert len(steps_taken(tmp_path)) == STEPS


def test_an_environment_is_outdated_when_its_requirements_change(tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_bytes(b"torch==1\nnumpy==1\n")
    environment = Environment(tmp_path / "env", requirements)
    python_in(environment.folder).parent.mkdir(parents=True)
    python_in(environment.folder).touch()
    assert not environment.finished()
    environment.stamp()
    assert environment.finished()
    requirements.write_bytes(b"torch==1\r\nnumpy==1\r\n")
    assert environment.finished()
    requirements.write_bytes(b"torch==2\nnumpy==1\n")
    assert not environment.finished()
    environment.clear()
    assert not environment.folder.exists()


def test_an_environment_whose_python_is_gone_is_not_finished(tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.touch()
    environment = Environment(tmp_path / "env", requirements)
    environment.folder.mkdir()
    environment.stamp()
    assert not environment.finished()


def test_too_little_room_is_said_before_anything_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "NEEDED_BYTES", 1e18)
    with pytest.raises(HostError, match="GB free and the set-up needs"):
        fetch.fetch(folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match=r"^the set-up in .* failed: .*Not a directory"):
        fetch.fetch(folder=tmp_path / "file" / ".host")


def test_extract_takes_nothing_but_the_folder_and_writes_nothing_outside(tmp_path: Path) -> None:
    archive = tmp_path / "package.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("main.py", "../../escaped.py", "deep/er/file.py"):
            tar.addfile(tarfile.TarInfo(f"package-1/vendor/ComfyUI/{name}"), io.BytesIO())
        link = tarfile.TarInfo("package-1/vendor/ComfyUI/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        tar.addfile(tarfile.TarInfo("package-1/setup.py"), io.BytesIO())
    extract(archive, PurePosixPath("vendor/ComfyUI"), tmp_path / "in" / "out")
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if not path.is_dir()}
    assert files == {"package.tar.gz", "in/out/main.py", "in/out/deep/er/file.py"}


def test_extract_refuses_a_package_without_comfyui(tmp_path: Path) -> None:
    archive = tmp_path / "package.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("package-1/setup.py"), io.BytesIO())
    with pytest.raises(HostError, match=r"package\.tar\.gz carries no ComfyUI"):
        extract(archive, PurePosixPath("vendor/ComfyUI"), tmp_path / "out")


def test_pips_indexes_are_handed_to_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = [
        "global.index-url='https://user.example/simple'",
        "global.timeout='60'",
        "site.extra-index-url='\\nhttps://one.example/simple\\nhttps://two.example/simple'",
        ":env:.index-url='https://environment.example/simple'",
    ]
    answer = subprocess.CompletedProcess([], 0, "\n".join(settings))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: answer)
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_STRATEGY"):
        monkeypatch.delenv(name, raising=False)
    assert index_settings(tmp_path) == {
        "UV_DEFAULT_INDEX": "https://environment.example/simple",
        "UV_INDEX": "https://one.example/simple https://two.example/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://uv.example/simple")
    assert "UV_DEFAULT_INDEX" not in index_settings(tmp_path)


def own_packages() -> set[str]:
    """What the pack's own tests and programs need beside ComfyUI's requirements."""
    files = (REQUIREMENTS / name for name in ("development.txt", "evaluation.txt"))
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return {re.split("[>=]", line)[0] for line in lines if line and not line.startswith("#")}


def test_the_newest_release_is_the_default() -> None:
    assert max(RELEASES, key=lambda version: [int(part) for part in version.split(".")]) == DEFAULT_RELEASE


@pytest.mark.parametrize("release", RELEASES.values(), ids=lambda release: release.comfyui)
def test_every_release_is_pinned_to_the_last_version_and_byte(release: fetch.Release) -> None:
    assert re.fullmatch(r"[0-9a-f]{64}", release.sha256)
    lines = release.requirements.read_text(encoding="utf-8").splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    assert len(wanted) > 50
    assert own_packages() <= {line.split("==")[0] for line in wanted}
    assert [line for line in wanted if not re.match(r"[\w.-]+==[\w.+]+( ;|$)", line)] == []
    assert "://" not in "\n".join(lines)
