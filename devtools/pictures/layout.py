"""Lay the templates out anew, each from its graph alone: all alike, and large enough to be read as they open.

    python -m devtools.pictures.layout [NAME ...]

Changes where nodes and groups are, how large they are, which are folded, and the groups' numbers; nothing else. A
template opens fitted into the window, and the browser draws names from a certain zoom on. So groups stand in columns,
in an order that goes with the links, above a row of all notes. What does not fit is folded to its title, first what
people set least.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
from collections.abc import Iterator
from typing import Any

from devtools import ROOT
from devtools.comfyui.workflow import NOTES, Graph, Node
from devtools.pictures.columns import (
    COLUMN_STEP,
    GROUP_GAP,
    GROUP_PAD,
    GROUP_TITLE,
    NODE_GAP,
    NODE_TITLE,
    WINDOW,
    Arrangement,
    Box,
    Column,
    arrange,
    height_of_column,
    level,
)

WORKFLOWS = ROOT / "workflows"
READABLE = 0.575
"""The least zoom at which a template is to open: names are drawn from 0.571 on, which is 8 points of a node's 14."""

SIZES = {
    "CLIPLoader": (114, 140),
    "CLIPTextEncode": (102, 116),
    "Canny": (90, 112),
    "CheckpointLoaderSimple": (102, 128),
    "ContextWindowsManual": (410, 448),
    "ControlNetApplyAdvanced": (198, 240),
    "ControlNetLoader": (62, 80),
    "DualCLIPLoader": (142, 172),
    "EmptyLatentImage": (118, 144),
    "EmptySD3LatentImage": (118, 144),
    "FluxGuidance": (62, 80),
    "ImageScale": (146, 176),
    "KSampler": (262, 512),
    "LatentFromBatch": (90, 112),
    "LatentUpscaleBy": (90, 112),
    "LoadImage": (326, 340),
    "ModelSamplingAuraFlow": (62, 80),
    "PreviewImage": (340, 340),
    "SaveImage": (340, 340),
    "StyleAlignedAttentionMap": (420, 480),
    "StyleAlignedInvert": (174, 424),
    "StyleAlignedLoadStyle": (174, 204),
    "StyleAlignedPositions": (118, 144),
    "StyleAlignedPrompts": (230, 230),
    "StyleAlignedRecord": (78, 96),
    "StyleAlignedRecordAttention": (86, 108),
    "StyleAlignedReference": (210, 252),
    "StyleAlignedReferenceLatent": (198, 236),
    "StyleAlignedReport": (340, 360),
    "StyleAlignedSaveStyle": (258, 284),
    "StyleAlignedShareAttention": (298, 298),
    "UNETLoader": (86, 108),
    "VAELoader": (62, 80),
}
"""How high a node is below its title, and how much room it needs: some browsers draw it higher, and some nodes grow
when they show a picture. Measured in the browsers of ComfyUI 0.24 and 0.30, with both of their ways to draw nodes."""
LAST_LESS = 22
"""How much less the last node of a group needs: what comes next is farther away than in a group."""
FOLDED = 8
NOTE = 120
NOTE_GAP = 20
LETTER = 7.4
TITLE_ENDS = 60
"""How wide a letter of a title is, and what is beside them; a node is at least as wide as its title's letters."""
WIDTHS = {"StyleAlignedReferenceLatent": 270, "StyleAlignedShareAttention": 270}
"""Of nodes whose own titles are long."""

PLUMBING = {
    "BatchImagesNode",
    "ConditioningZeroOut",
    "InvertMask",
    "SetLatentNoiseMask",
    "VAEDecode",
    "VAEEncode",
}
"""Nodes with nothing to set: always folded."""
FILLING = ({"PreviewImage", "SaveImage", "StyleAlignedAttentionMap", "StyleAlignedReport"}, {"StyleAlignedPrompts"})
"""Nodes that are the better the higher they are; the first that a column has take the height that it has left."""
FOLDS = {"empty prompt": 1, "size": 2, "further step": 4, "part": 5, "note": 3, "further picture": 12}
"""What else may be folded in a graph that is too large, and how much is lost by it."""

NUMBER = re.compile(r"^\d+ · ")

Group = dict[str, Any]
Place = tuple[float, float, float, float]
"""Left, top, width and height of a node, the title above it."""
Corners = tuple[float, float, float, float]
"""Left, top, right and bottom."""


def laid_out(graph: Graph) -> Graph:
    """The graph with its least loss by folding at which it can be read."""
    groups = members(graph)
    kinds = {node["id"]: kind for group in groups for node, kind in zip(group, foldable(group), strict=True)}
    feeds = _feeds(graph, groups)
    there = [kind for kind in FOLDS if kind == "note" or kind in kinds.values()]
    for folds in sorted(_subsets(there), key=lambda kinds: sum(FOLDS[kind] for kind in kinds)):
        folded = {key for key, kind in kinds.items() if kind in {"plumbing", *folds}}
        notes = FOLDED if "note" in folds else NOTE
        boxes = [tuple(_box(node, node["id"] in folded, node is group[-1]) for node in group) for group in groups]
        arrangement = arrange(boxes, feeds, NOTE_GAP + NODE_TITLE + notes, READABLE)
        if arrangement.zoom >= READABLE:
            return _placed(graph, arrangement, folded, FOLDED if "note" in folds else NOTE)
    raise ValueError(f"even with all folded, the graph opens at a zoom of {arrangement.zoom:.3f}")


def _subsets(kinds: list[str]) -> Iterator[tuple[str, ...]]:
    return itertools.chain.from_iterable(itertools.combinations(kinds, count) for count in range(len(kinds) + 1))


def members(graph: Graph) -> list[list[Node]]:
    """The nodes of each group, which are those that lie in it, but for notes: each behind those that feed it."""
    order = {node["id"]: place for place, node in enumerate(_behind_their_sources(graph))}
    within = [[node for node in graph["nodes"] if _lies_in(node, group)] for group in graph["groups"]]
    return [sorted(nodes, key=lambda node: order[node["id"]]) for nodes in within]


def _lies_in(node: Node, group: Group) -> bool:
    left, top, width, height = group["bounding"]
    x, y = node["pos"]
    return node["type"] not in NOTES and left <= x < left + width and top <= y < top + height


def _behind_their_sources(graph: Graph) -> list[Node]:
    waiting = sorted(graph["nodes"], key=lambda node: node["id"])
    sources = {node["id"]: {link[1] for link in graph["links"] if link[3] == node["id"]} for node in waiting}
    placed: list[Node] = []
    while waiting:
        unplaced = {node["id"] for node in waiting}
        ready = next(node for node in waiting if not sources[node["id"]] & unplaced)
        waiting.remove(ready)
        placed.append(ready)
    return placed


def foldable(group: list[Node]) -> list[str]:
    """Why each node of a group may be folded, of PLUMBING and FOLDS; empty where it must not be."""
    return [_foldable(node, {other["type"] for other in group[:place]}) for place, node in enumerate(group)]


def _foldable(node: Node, before: set[str]) -> str:
    kind, values = node["type"], node.get("widgets_values")
    rules = {
        "plumbing": kind in PLUMBING,
        "empty prompt": kind == "CLIPTextEncode" and values == [""],
        "size": kind in {"ImageScale", "Canny"},
        "further step": kind in {"KSampler", "StyleAlignedReference"} & before,
        "part": kind in {"EmptyLatentImage", "LatentUpscaleBy"},
        "further picture": kind in {"LoadImage"} & before,
    }
    return next((rule for rule, holds in rules.items() if holds), "")


def _box(node: Node, folded: bool, last: bool) -> Box:
    height, room = (FOLDED, FOLDED) if folded else SIZES[node["type"]]
    room = max(height, room - LAST_LESS) if last else room
    width = max(WIDTHS.get(node["type"], 0), LETTER * len(node.get("title", "")))
    return Box(node["id"], room, 0 if folded else width)


def _feeds(graph: Graph, groups: list[list[Node]]) -> frozenset[tuple[int, int]]:
    """The pairs of groups of which one has a node with a link to a node of the other."""
    group_of = {node["id"]: number for number, group in enumerate(groups) for node in group}
    pairs = {(group_of[link[1]], group_of[link[3]]) for link in graph["links"]}
    return frozenset((source, target) for source, target in pairs if source != target)


def _placed(graph: Graph, arrangement: Arrangement, folded: set[int], notes: float) -> Graph:
    """The graph with its nodes and groups where the arrangement has them, and notes of that height below."""
    kinds = {node["id"]: node["type"] for node in graph["nodes"]}
    bottom = max(map(height_of_column, arrangement.columns))
    places: dict[int, Place] = {}
    corners: dict[int, list[Corners]] = {}
    left = 0.0
    for column, width in zip(arrangement.columns, arrangement.widths, strict=True):
        extra = _extra(column, kinds, folded, bottom - height_of_column(column))
        top = 0.0
        for number, boxes in column:
            y = top + GROUP_TITLE + NODE_TITLE
            for box in boxes:
                height = FOLDED if box.key in folded else SIZES[kinds[box.key]][0] + extra.get(box.key, 0)
                places[box.key] = left, y, width, height
                y += box.room + extra.get(box.key, 0) + NODE_GAP + NODE_TITLE
            end = bottom if (number, boxes) == column[-1] else y - NODE_TITLE - NODE_GAP + GROUP_PAD
            corners.setdefault(number, []).append((left - GROUP_PAD, top, left + width + GROUP_PAD, end))
            top = end + GROUP_GAP
        left += width + COLUMN_STEP
    places |= _row_of_notes(graph, bottom + NOTE_GAP + NODE_TITLE, arrangement.width, notes)
    kept = folded | ({key for key, kind in kinds.items() if kind in NOTES} if notes == FOLDED else set())
    nodes = [_at(node, places[node["id"]], node["id"] in kept) for node in graph["nodes"]]
    groups = [_around(group, corners[number]) for number, group in enumerate(graph["groups"])]
    return {**graph, "nodes": nodes, "groups": _numbered(groups), "extra": {**graph["extra"], "ds": _view(arrangement)}}


def _extra(column: Column, kinds: dict[int, str], folded: set[int], left_over: float) -> dict[int, float]:
    """What nodes of a column that is lower than others get in addition to their heights."""
    open_ones = [box.key for _, boxes in column for box in boxes if box.key not in folded]
    fillings = ([key for key in open_ones if kinds[key] in filling] for filling in FILLING)
    growing = next(filter(None, fillings), [])
    return {key: left_over // len(growing) for key in growing}


def _row_of_notes(graph: Graph, top: float, width: float, height: float) -> dict[int, Place]:
    notes = [node for node in _behind_their_sources(graph) if node["type"] in NOTES]
    least = [TITLE_ENDS + LETTER * len(node["title"]) for node in notes]
    usual = level(least, width - NOTE_GAP * (len(notes) - 1))
    widths = [max(usual, own) for own in least]
    lefts = itertools.accumulate(widths, lambda left, own: left + own + NOTE_GAP, initial=0.0)
    return {note["id"]: (left, top, own, height) for note, left, own in zip(notes, lefts, widths, strict=False)}


def _at(node: Node, place: Place, folded: bool) -> Node:
    left, top, width, height = map(round, place)
    return {**node, "pos": [left, top], "size": [width, height], "flags": {"collapsed": True} if folded else {}}


def _around(group: Group, corners: list[Corners]) -> Group:
    lefts, tops, rights, bottoms = zip(*corners, strict=True)
    left, top = round(min(lefts)), round(min(tops))
    return {**group, "bounding": [left, top, round(max(rights)) - left, round(max(bottoms)) - top]}


def _numbered(groups: list[Group]) -> list[Group]:
    """The groups in the order in which they stand, with that number in their titles."""
    groups = sorted(groups, key=lambda group: group["bounding"][:2])
    return [
        {**group, "id": number, "title": f"{number} · {NUMBER.sub('', group['title'])}"}
        for number, group in enumerate(groups, start=1)
    ]


def _view(arrangement: Arrangement) -> dict[str, object]:
    """Where the browser's window is when the graph is opened as a file: as it fits templates."""
    middle = arrangement.width / 2, GROUP_TITLE + arrangement.height / 2
    offset = [round(side / 2 / arrangement.zoom - at) for side, at in zip(WINDOW, middle, strict=True)]
    return {"scale": round(arrangement.zoom, 3), "offset": offset}


def main() -> None:
    for path in sorted(WORKFLOWS.glob("*.json")):
        if not sys.argv[1:] or path.stem in sys.argv[1:]:
            graph = laid_out(json.loads(path.read_text(encoding="utf-8")))
            path.write_text(json.dumps(graph, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            print(f"{path.name}: opens at a zoom of {graph['extra']['ds']['scale']}")


if __name__ == "__main__":
    main()
