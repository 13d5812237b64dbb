"""Files that appear whole or not at all, never in place of another, under names that every system takes."""

from __future__ import annotations

import itertools
import os
import re
import uuid
from pathlib import Path

_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"|?*]')
_PORTS = {port + number for port in ("COM", "LPT") for number in "123456789¹²³"}
_DEVICES = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"} | _PORTS  # Windows has no files of these names
_MAX_BYTES = 150  # of a name's part: file systems take 255, and a counter and a suffix follow


def clean_prefix(prefix: str) -> str:
    """`prefix` as a relative path with forward slashes that is valid on every system, Windows included.

    Raises ValueError where it leads out of the folder that it is relative to, or names nothing.
    """
    if not isinstance(prefix, str):  # over the API it may be anything
        raise ValueError(f"filename_prefix is {prefix!r}; give a name such as clay.")
    parts = [part.strip() for part in re.split(r"[/\\]", prefix.strip())]
    if parts[0] == "" or re.fullmatch(r"[A-Za-z]:.*", parts[0]) or ".." in parts:
        raise ValueError(
            f"filename_prefix {prefix!r} leads out of the folder for styles, or is empty. Give a name such as clay, or "
            "one with a folder such as sets/clay."
        )
    cleaned = [_clean_part(part) for part in parts if part not in ("", ".")]
    if not cleaned or prefix.rstrip()[-1] in "/\\":
        raise ValueError(f"filename_prefix {prefix!r} has no file name in it. Give one, such as sets/clay.")
    return "/".join(cleaned)


def _clean_part(part: str) -> str:
    part = _FORBIDDEN.sub("_", part).encode("utf-8", "replace")[:_MAX_BYTES].decode("utf-8", "ignore")
    part = part.rstrip(". ").lstrip(".") or "_"  # Windows drops dots and spaces at the end; a dot in front hides a file
    return f"_{part}" if part.split(".")[0].rstrip().upper() in _DEVICES else part


def write_new(folder: Path, stem: str, suffix: str, content: bytes, first: int = 1) -> Path:
    """Write `content` to `STEM_NUMBER_SUFFIX` in `folder` with the first number from `first` on that is free; its path.

    The file is written under another name beside it first, so that nobody ever finds half of it.
    """
    unfinished = folder / f".{uuid.uuid4().hex}.tmp"
    try:
        with unfinished.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        for number in itertools.count(first):
            path = folder / f"{stem}_{number:05}_{suffix}"
            if _publish(unfinished, path):
                return path
    finally:
        unfinished.unlink(missing_ok=True)
    raise AssertionError("the numbers have no end")


def _publish(unfinished: Path, path: Path) -> bool:
    """Give the finished file its name; False if another file has it, which is left as it is."""
    try:
        if os.name == "nt":
            os.rename(unfinished, path)  # which replaces nothing there
        else:
            os.link(unfinished, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        if path.exists():
            return False
        os.replace(unfinished, path)
    return True
