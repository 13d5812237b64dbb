"""The user's files, by their names in ComfyUI's model folders or by their paths."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from devtools.checkpoint_evaluation.errors import EvaluationError

KINDS = {
    "checkpoints": "checkpoint",
    "clip_vision": "vision model",
    "text_encoders": "text encoder",
}
"""The host's model folders, and what users call a file in them."""
MOST_NAMED = 12
_PIECE = 1 << 24


def extend_model_paths(comfyui: Path) -> None:
    """Know the model folders of extra_model_paths.yaml too, as the host does when it starts."""
    extra = comfyui / "extra_model_paths.yaml"
    if extra.is_file():
        from utils.extra_config import load_extra_path_config  # the host's

        load_extra_path_config(str(extra))


def find(kind: str, name: str) -> Path:
    """The file `name` of a model folder, or at that path. Where there is none the error names some that are there."""
    import folder_paths

    if path := folder_paths.get_full_path(kind, name):
        return Path(path)
    if Path(name).is_file():
        return Path(name)
    called, there = KINDS[kind], folder_paths.get_filename_list(kind)
    if not there:
        folders = " or ".join(folder_paths.get_folder_paths(kind))
        raise EvaluationError(f"there is no {called} {name!r}, and none at all in {folders}; name a file by its path")
    near = difflib.get_close_matches(name, there, MOST_NAMED, cutoff=0.3)
    named = [*near, *(each for each in there if each not in near)][:MOST_NAMED]
    more = f" and {len(there) - len(named)} more" if len(there) > len(named) else ""
    raise EvaluationError(f"there is no {called} {name!r}; ComfyUI has: {', '.join(named)}{more}")


@contextmanager
def loading(path: Path, kind: str) -> Iterator[None]:
    """Within the context, whatever readers make of damaged and of unknown files is an error of one line."""
    try:
        yield
    except EvaluationError:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise EvaluationError(f"ComfyUI cannot load {path.name} as a {KINDS[kind]}: {lines[0]}") from error


def digest(path: Path) -> str:
    """Of what the file holds."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            found.update(piece)
    return found.hexdigest()


def shapes(path: Path) -> Mapping[str, tuple[int, ...]]:
    """The names and shapes of the weights in a file."""
    from comfy.utils import load_torch_file

    return {name: tuple(weight.shape) for name, weight in load_torch_file(str(path), safe_load=True).items()}
