"""A report in a graph that a server runs: shown on the node, and saved like any picture."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image

from devtools.comfyui.client import Prompt
from devtools.comfyui.server import PromptFailed

REPORT = "StyleAlignedReport"


def graph(pictures: int, **inputs: Any) -> Prompt:
    """A set of one colour in a report; nothing but the report asks for it."""
    colours = {"width": 64, "height": 48, "batch_size": pictures, "color": 0x3366CC}
    return {
        "set": {"class_type": "EmptyImage", "inputs": colours},
        "report": {"class_type": REPORT, "inputs": {"images": ["set", 0], **inputs}},
    }


def test_a_report_is_shown_on_its_node(server):
    result = server.run(graph(3))
    [shown] = result.images["report"]
    [text] = result.outputs["report"]["text"]
    assert Image.open(shown).convert("RGB").width > 400
    assert text.startswith("mean against the reference")
    assert "images: 2 against the reference, 64 x 48" in text


def test_two_sets_against_one_picture_and_the_picture_saved(server):
    prompt = graph(2, reference=["one", 0], compared_with=["set", 0])
    prompt["one"] = {"class_type": "EmptyImage", "inputs": {"width": 32, "height": 32, "batch_size": 1, "color": 0}}
    prompt["save"] = {"class_type": "SaveImage", "inputs": {"images": ["report", 0], "filename_prefix": "report"}}
    result = server.run(prompt)
    shown, saved = (Image.open(result.images[node][0]) for node in ("report", "save"))
    assert shown.tobytes() == saved.tobytes()


def test_one_picture_is_refused_in_words(server, expected_errors):
    expected_errors.append("ValueError: images has one picture and there is no reference")
    with pytest.raises(PromptFailed, match="images has one picture and there is no reference to compare it with"):
        server.run(graph(1))
    assert server.alive()
