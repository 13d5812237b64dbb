"""New files: whole, never in place of others, under names that every system takes."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from style_aligned.shared_attention.new_file import clean_prefix, write_new


@pytest.mark.parametrize(
    ("prefix", "cleaned"),
    [
        ("clay", "clay"),
        (" sets/clay figures ", "sets/clay figures"),
        (r"sets\clay", "sets/clay"),
        ("./sets//clay", "sets/clay"),
        ("%year%-clay", "%year%-clay"),
        ('a<b>c:d"e|f?g*h\x00\n', "a_b_c_d_e_f_g_h_"),
        ("nul", "_nul"),
        ("sets/COM1.txt", "sets/_COM1.txt"),
        ("con .x", "_con .x"),
        ("clay. . ", "clay"),
        (".hidden", "hidden"),
        ("...", "_"),
        ("fuchs über 猫", "fuchs über 猫"),
        ("猫" * 200, "猫" * 50),
    ],
)
def test_names_are_cleaned(prefix, cleaned):
    assert clean_prefix(prefix) == cleaned


@pytest.mark.parametrize(
    "prefix",
    ["", "  ", "/etc/style", "..", "../style", "sets/../../x", r"..\x", r"C:\x", "c:x", r"\\host\x", "a/ .. /b"],
)
def test_names_that_lead_out_are_refused(prefix):
    with pytest.raises(ValueError, match="leads out of the folder"):
        clean_prefix(prefix)


@pytest.mark.parametrize("prefix", [".", "sets/", "./"])
def test_names_of_nothing_are_refused(prefix):
    with pytest.raises(ValueError, match="no file name"):
        clean_prefix(prefix)


@given(st.text(alphabet=st.sampled_from("ab./\\: \x00*CON%ü"), min_size=1) | st.text())
def test_no_name_leads_out_or_is_invalid(prefix: str):
    try:
        cleaned = clean_prefix(prefix)
    except ValueError:
        assume(False)
    for path in (PurePosixPath(cleaned), PureWindowsPath(cleaned)):
        assert not path.is_absolute()
        assert not path.drive
        assert ".." not in path.parts
        assert path.as_posix() == cleaned
    assert not re.search(r'[\x00-\x1f<>:"|?*\\]', cleaned)
    assert all(part and not part.startswith(".") and part[-1] not in ". " for part in cleaned.split("/"))
    assert not any(PureWindowsPath(part).is_reserved() for part in cleaned.split("/"))
    assert all(len(part.encode()) <= 151 for part in cleaned.split("/"))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(params=["links", "no links"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """On file systems with and without hard links."""

    def unsupported(*_: object) -> None:
        raise PermissionError("no hard links here")

    if request.param == "no links":
        monkeypatch.setattr(os, "link", unsupported)
    return tmp_path


def test_files_are_numbered_and_none_is_replaced(folder: Path):
    (folder / "clay_00002_.bin").write_bytes(b"old")
    paths = [write_new(folder, "clay", ".bin", content) for content in (b"first", b"second")]
    assert [path.name for path in paths] == ["clay_00001_.bin", "clay_00003_.bin"]
    assert [path.read_bytes() for path in paths] == [b"first", b"second"]
    assert (folder / "clay_00002_.bin").read_bytes() == b"old"
    assert len(names(folder)) == 3


def test_writing_that_fails_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch):
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_new(folder, "clay", ".bin", b"x")
    assert names(folder) == []


def test_a_file_has_its_name_only_when_it_is_whole(folder: Path, monkeypatch: pytest.MonkeyPatch):
    seen: list[list[str]] = []
    monkeypatch.setattr(os, "fsync", lambda _: seen.append(names(folder)))
    write_new(folder, "clay", ".bin", b"x")
    [[unfinished]] = seen
    assert not unfinished.endswith(".bin")
    assert names(folder) == ["clay_00001_.bin"]


def test_writers_at_the_same_time_get_files_of_their_own(tmp_path: Path):
    contents = [str(number).encode() for number in range(16)]
    threads = [threading.Thread(target=write_new, args=(tmp_path, "clay", ".bin", content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == sorted(contents)


def test_others_may_read_what_was_written(tmp_path: Path):
    plain = tmp_path / "plain"
    plain.touch()
    assert write_new(tmp_path, "clay", ".bin", b"x").stat().st_mode == plain.stat().st_mode
