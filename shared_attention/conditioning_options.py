"""The options beside the embeddings of a CONDITIONING entry, where entries of several prompts become one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .subject_words import WORDS

Options = dict[str, Any]

POOLED = "pooled_output"
ROWS = {POOLED, "conditioning_llama3", "conditioning_byt5small"}
"""Options with a row for each image, beside the embeddings: further encodings of the prompt."""

_WHEN_AND_WHERE = {
    "area": "an area",
    "mask": "a mask",
    "set_area_to_bounds": "a mask",
    "mask_strength": "a mask",
    "strength": "a strength",
    "start_percent": "a timestep range",
    "end_percent": "a timestep range",
    "clip_start_percent": "a schedule",
    "clip_end_percent": "a schedule",
    "hooks": "hooks",
    "default": "a default",
    "control": "a ControlNet",
    "control_apply_to_uncond": "a ControlNet",
    "gligen": "GLIGEN boxes",
    "concat_latent_image": "a picture to inpaint",
    "concat_mask": "a picture to inpaint",
    "unclip_conditioning": "a CLIP Vision picture",
    "reference_latents": "reference pictures",
}
"""Options that say when, where or beside what an entry acts, and what their users call them."""

_BY_CLIP = {"hooks", "clip_start_percent", "clip_end_percent"}

_PLAIN = (bool, int, float, str, type(None))


def common_options(options: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Options:
    """The options of the rows' prompts as those of one entry, the pooled outputs as rows; `names` are the prompts'.

    What describes the picture in plain numbers or words (its size and crop, an aesthetic score, a guidance) can only be
    said of the whole batch: it is that of the first prompt that says it. Raises ValueError, in the words of who made
    the prompts, where anything else is not the same in all of them. Where the words are is said of the first alone.
    """
    common = dict(options[0])
    for name, other in zip(names[1:], options[1:], strict=True):
        for option in sorted((common.keys() | other.keys()) - ROWS - {WORDS}):
            if option in common and option in other and same(common[option], other[option]):
                continue
            if not _describes_the_picture(option, common.get(option), other.get(option)):
                raise ValueError(_difference(option, option in common, option in other, names[0], name))
            common.setdefault(option, other.get(option))
    for name in ROWS & common.keys():
        common[name] = _cat_rows([each.get(name) for each in options])
    return common


def different_tensors(options: Sequence[Mapping[str, Any]]) -> set[str]:
    """The options that are tensors, are not the same for all prompts, and cannot be rows of one tensor either."""
    names = {name for each in options for name, value in each.items() if isinstance(value, Tensor)}
    return {name for name in names - _WHEN_AND_WHERE.keys() if not _fits(name, [each.get(name) for each in options])}


def _fits(name: str, values: Sequence[Any]) -> bool:
    if name in ROWS:
        given = [value for value in values if value is not None]
        # Of texts in pictures some models have a second encoding, which only those prompts have that ask for one.
        return len({value.shape for value in given}) == 1 and (name == POOLED or len(given) == len(values))
    return all(same(values[0], other) for other in values[1:])


def _describes_the_picture(option: str, *values: object) -> bool:
    return option not in _WHEN_AND_WHERE and all(isinstance(value, _PLAIN) for value in values)


def _difference(option: str, in_first: bool, in_other: bool, first: str, other: str) -> str:
    what = _WHEN_AND_WHERE.get(option, repr(option))
    if in_first and in_other:
        difference = f"{first} and {other} do not have the same {what.removeprefix('an ').removeprefix('a ')}"
    else:
        having, lacking = (first, other) if in_first else (other, first)
        difference = f"{having} has {what}, {lacking} has none"
    if option in _BY_CLIP:
        advice = f"It comes with the CLIP: encode {first} and {other} with the same one."
    else:
        advice = "Put the node that adds it behind Prompts, where it holds for every row."
    return f"The prompts cannot be combined: {difference}. {advice}"


def _cat_rows(values: Sequence[Tensor | None]) -> Tensor | None:
    """SD 1.x has no pooled output: None for every prompt."""
    rows = [row for row in values if row is not None]
    return torch.cat(rows) if len(rows) == len(values) else None


def same(first: object, other: object) -> bool:
    """Whether two options are equal, tensors within lists and dicts included."""
    if first is other:
        return True
    if isinstance(first, Tensor) or isinstance(other, Tensor):
        return isinstance(first, Tensor) and isinstance(other, Tensor) and torch.equal(first, other)
    if isinstance(first, list | tuple) and isinstance(other, list | tuple):
        return len(first) == len(other) and all(map(same, first, other))
    if isinstance(first, dict) and isinstance(other, dict):
        return first.keys() == other.keys() and all(same(first[key], other[key]) for key in first)
    return bool(first == other)
