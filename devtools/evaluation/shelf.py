"""What was drawn, on disk: a strip of pictures a set, and what was read in it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from devtools.comfyui.icon_model import ICON_MODELS
from devtools.evaluation.readings import Reading
from toy import icons, judge

Task = tuple[str, int]  # a variant's key and a set's number, or of samples and the number of a part of them


class Shelf:
    """Pictures are in a folder of the checkpoint that drew them, readings beside them under the judge's name.

    So another judge reads them again and another model draws them again.
    """

    def __init__(self, folder: Path, model: str, hard: bool = False) -> None:
        self.model, self.hard = model, hard
        self.folder = folder / _name_of(ICON_MODELS[model].checkpoint)
        self.folder = self.folder / "hard" if hard else self.folder
        self.reader = _name_of(judge.CHECKPOINT, ICON_MODELS["unet"].checkpoint)

    def pictures(self, task: Task) -> Tensor:
        """(1 + TARGETS, SIZE, SIZE, 3), 0..1."""
        strip = np.asarray(Image.open(self._path(task, ".png")).convert("RGB"), np.float32) / 255
        return torch.from_numpy(strip).unflatten(1, (-1, icons.SIZE)).movedim(1, 0)

    def reading(self, task: Task) -> Reading:
        return Reading.load(self._path(task, f".{self.reader}.json"))

    def has_pictures(self, task: Task) -> bool:
        return self._path(task, ".png").exists()

    def has_reading(self, task: Task) -> bool:
        return self._path(task, f".{self.reader}.json").exists()

    def put_pictures(self, task: Task, pictures: Tensor) -> None:
        strip = (pictures * 255).round().byte().movedim(0, 1).flatten(1, 2)
        path = self._path(task, ".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(strip.numpy()).save(unfinished := self._path(task, ".unfinished"), "png")
        os.replace(unfinished, path)  # where it is, it is complete

    def put_reading(self, task: Task, reading: Reading) -> None:
        reading.save(unfinished := self._path(task, ".unfinished"))
        os.replace(unfinished, self._path(task, f".{self.reader}.json"))

    def _path(self, task: Task, ending: str) -> Path:
        key, number = task
        return self.folder / key / f"{number:04d}{ending}"


def _name_of(*files: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]
