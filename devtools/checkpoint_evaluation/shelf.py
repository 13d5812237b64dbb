"""What has been drawn and seen, on disk: a run that was stopped goes on, and one with more sets draws only those."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from devtools.checkpoint_evaluation.sets import StyleSet

Values = Mapping[str, float]


@dataclass(frozen=True)
class Shelf:
    """A folder of what one checkpoint has drawn with one choice of settings; a folder in it for each variant."""

    folder: Path

    @classmethod
    def of(cls, out: Path, *made_with: object) -> Shelf:
        """That of whatever decides how a picture turns out, in a folder of its own."""
        return cls(out / f"sets-{_short(*made_with)}")

    def has(self, variant: str, drawn: StyleSet) -> bool:
        return self._path(variant, drawn, ".json").exists()

    def put(self, variant: str, drawn: StyleSet, pictures: Tensor, seconds: float) -> None:
        """pictures: (pictures, height, width, 3), 0..1."""
        strip = (pictures * 255).round().byte().movedim(0, 1).flatten(1, 2)
        self._path(variant, drawn, ".json").parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(strip.numpy()).save(self._path(variant, drawn, ".png"))
        _write(self._path(variant, drawn, ".json"), {"seconds": seconds})  # last: where it is, the set is complete

    def pictures(self, variant: str, drawn: StyleSet) -> Tensor:
        strip = np.asarray(Image.open(self._path(variant, drawn, ".png")).convert("RGB"), np.float32) / 255
        return torch.from_numpy(strip).unflatten(1, (len(drawn.objects), -1)).movedim(1, 0)

    def seconds(self, variant: str, drawn: StyleSet) -> float:
        return float(_read(self._path(variant, drawn, ".json"))["seconds"])

    def seen(self, variant: str, drawn: StyleSet, judges: str) -> Values | None:
        """What `judges`, by a name that is theirs alone, have measured of a set; None where they have not yet."""
        path = self._path(variant, drawn, f".{_short(judges)}.json")
        return _read(path) if path.exists() else None

    def put_seen(self, variant: str, drawn: StyleSet, judges: str, values: Values) -> None:
        _write(self._path(variant, drawn, f".{_short(judges)}.json"), values)

    def _path(self, variant: str, drawn: StyleSet, ending: str) -> Path:
        """By the set's text too, so that another file's set of that number is another one."""
        return self.folder / variant / f"{drawn.number:04d}-{_short(drawn.style, drawn.objects)[:6]}{ending}"


def _short(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def _read(path: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _write(path: Path, values: Values) -> None:
    """All of it or nothing, whenever the program is stopped."""
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_text(json.dumps(dict(values)), encoding="utf-8")
    os.replace(unfinished, path)
