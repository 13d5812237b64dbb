"""Where the host keeps styles: its folders `style_references`, for saving one among the outputs.

As with the host's own checkpoints and LoRAs, what was saved to the output folder can be loaded from there; the models
folder has room for a collection and the input folder takes what a browser uploads.
"""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths

from ..new_file import clean_prefix, write_new
from ..style_file import MAX_BYTES, Style, StyleFileError, decode, encode

FOLDER, SUFFIX = "style_references", ".safetensors"


def register() -> None:
    """Tell the host of the folders, after those that a user's extra_model_paths.yaml may name."""
    for parent in (folder_paths.models_dir, folder_paths.get_output_directory(), folder_paths.get_input_directory()):
        folder_paths.add_model_folder_path(FOLDER, os.path.join(parent, FOLDER))
    folder_paths.folder_names_and_paths[FOLDER][1].add(SUFFIX)


def names() -> list[str]:
    """The styles there are to load."""
    return [name for name in folder_paths.get_filename_list(FOLDER) if _path(name) is not None]


def find(name: str) -> Path:
    """The file of a style; ValueError where the folders have none of that name."""
    path = _path(name)
    if path is None:
        raise ValueError(
            f"The style_references folders have no style {name!r}. Save one with Style Aligned: Save Style, upload "
            "one, or put its file there and refresh the list."
        )
    return path


def _path(name: str) -> Path | None:
    """The file `name` in the first folder that has it, links followed: what lies outside the folders is not theirs."""
    if not str(name).lower().endswith(SUFFIX):  # over the API a name may be anything
        return None
    folders = folder_paths.get_folder_paths(FOLDER)
    candidates = (os.path.join(folder, name) for folder in folders)
    inside = (path for path in candidates if any(_is_inside(folder, path) for folder in folders))
    return next((Path(path) for path in inside if os.path.isfile(path)), None)


def _is_inside(folder: str, path: str) -> bool:
    """Whether `path` leads into `folder`, links followed; ComfyUI's own check is newer than 0.24."""
    try:
        return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
    except ValueError:  # a null character in the name
        return False


def load(name: str) -> Style:
    """The style of that name; ValueError with the reason where it cannot be used."""
    path = find(name)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise StyleFileError(f"it is larger than {MAX_BYTES / 1e6:.0f} MB; give a file that Save Style wrote")
        return decode(path.read_bytes())
    except OSError as error:
        reason = f"{error.strerror}. See to it that ComfyUI may read the file."
        raise StyleFileError(f"The style {name!r} cannot be read: {reason}") from error
    except StyleFileError as error:
        raise StyleFileError(f"The style {name!r} cannot be used: {error}.") from error


def save(style: Style, filename_prefix: str) -> Path:
    """Write a new file; its path relative to the output's style_references folder."""
    folder = os.path.join(folder_paths.get_output_directory(), FOLDER)
    prefix = clean_prefix(filename_prefix)
    if not _is_inside(folder, os.path.join(folder, prefix)):
        raise ValueError(
            f"filename_prefix {filename_prefix!r} leads out of the folder for styles, through a link. Give a name in a "
            "folder that is none."
        )
    height, width = style.reference.shape[-2:]
    place, stem, counter, _, _ = folder_paths.get_save_image_path(prefix, folder, width, height)
    path = write_new(Path(place), stem, SUFFIX, encode(style), counter)
    return path.relative_to(folder)
