"""Two graphs that have to give the same pictures, made of one with references apart."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

from devtools.comfyui.client import Prompt
from devtools.fuzz.graphs import APART, MAP, PROMPTS, REFERENCE, REPORT, SHARE, TEST, Run
from devtools.fuzz.plain import without_the_pack
from devtools.fuzz.values import TRANSFORMERS

ROUNDING = 1e-4
"""Of several model calls, where what is added up comes in another order."""
RANDOM = {"TomePatchModel", "HyperTile"}
"""Patches that draw random numbers at every call of the model: they have others where calls come in another order."""


class Twins(NamedTuple):
    """what: the rule. prompt: both graphs. most: how far they may be apart, as a share of the largest value."""

    what: str
    prompt: Prompt
    most: float = 0.0


def twins(run: Run) -> Iterator[Twins]:
    """What has to hold for the run's graph."""
    looking = (MAP, REPORT)  # which say nothing of the pictures, and a map is refused where nothing is shared
    prompt = {node_id: node for node_id, node in run.prompt.items() if node["class_type"] not in looking}
    result = run.nodes["result"]
    apart = [node_id for node_id, node in prompt.items() if node["class_type"] == APART]
    if not apart:
        return
    without = _without(prompt, apart)
    yield Twins("weight 0 is no reference", both(_with(prompt, APART, weight=0.0), without, result))
    off = _with(prompt, SHARE, strength=0.0)
    yield Twins("sharing off is no reference", both(off, _with(without, SHARE, strength=0.0), result))
    is_by_lines = PROMPTS in run.nodes and run.family in TRANSFORMERS
    if REFERENCE not in run.nodes and not is_by_lines:
        is_of_two_lengths = "conditioning of a style" in run.nodes  # then there are calls for each line
        most = ROUNDING if is_of_two_lengths else 0.0
        yield Twins("sharing off is the host's own", both(off, without_the_pack(prompt), result), most)
    if len(apart) == 2 and not RANDOM & run.nodes.keys():
        yield Twins("the order of two references is none", both(prompt, _swapped(prompt, *apart), result), ROUNDING)


def both(one: Prompt, other: Prompt, result: str) -> Prompt:
    """Both graphs in one, whose result says how far they are apart; of `other` only what is sampled."""
    joined = copy.deepcopy(one)
    for node_id, node in other.items():
        if node["class_type"] in (f"{TEST}Result", "StyleAlignedSaveStyle"):
            continue
        inputs = {name: _renamed(value) for name, value in node["inputs"].items()}
        joined[f"other {node_id}"] = {**node, "inputs": inputs}
    joined[result]["inputs"]["same_as"] = _renamed(other[result]["inputs"]["latent"])
    return joined


def _renamed(value: Any) -> Any:
    return [f"other {value[0]}", value[1]] if isinstance(value, list) else value


def _with(prompt: Prompt, kind: str, **settings: Any) -> Prompt:
    """The graph with these settings in every node of the kind."""
    changed = copy.deepcopy(prompt)
    for node in changed.values():
        if node["class_type"] == kind:
            node["inputs"].update(settings)
    return changed


def _without(prompt: Prompt, nodes: list[str]) -> Prompt:
    """The graph without these patches of the model."""
    left = copy.deepcopy(prompt)
    for removed in nodes:
        source = left.pop(removed)["inputs"]["model"]
        for node in left.values():
            node["inputs"] = {
                name: source if value == [removed, 0] else value for name, value in node["inputs"].items()
            }
    return left


def _swapped(prompt: Prompt, first: str, second: str) -> Prompt:
    """The graph with the two patches' inputs exchanged, but for the model."""
    changed = copy.deepcopy(prompt)
    for here, there in ((first, second), (second, first)):
        changed[here]["inputs"] = {**prompt[there]["inputs"], "model": prompt[here]["inputs"]["model"]}
    return changed
