"""The workflow that draws a set with its map and its report, with the icon model in place of its checkpoint."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from devtools.comfyui.server import PromptFailed, Result, Server
from devtools.comfyui.workflow import Graph, bypass, matching, set_widget, to_prompt

NAME = "set_with_map"
MAP, REPORT, SHARING = "StyleAlignedAttentionMap", "StyleAlignedReport", "StyleAlignedShareAttention"
TARGETS = 3


def pictures(result: Result, graph: Graph, kind: str) -> list[np.ndarray]:
    [node] = matching(graph, kind)
    return [np.asarray(Image.open(path).convert("RGB")) for path in result.images.get(str(node["id"]), [])]


@pytest.fixture
def drawn(server: Server, icon_graph, object_info):
    """Draws the workflow with settings of the map; the result and the graph."""

    def run(**settings: Any) -> tuple[Result, Graph]:
        graph = icon_graph(NAME)
        for setting, value in settings.items():
            graph = set_widget(graph, MAP, setting, value, object_info)
        return server.run(to_prompt(graph, object_info)), graph

    return run


def test_the_set_is_saved_and_its_map_and_report_are_shown(drawn):
    result, graph = drawn()
    assert len(pictures(result, graph, "SaveImage")) == TARGETS + 1
    for kind in (MAP, REPORT):
        [sheet] = pictures(result, graph, kind)
        assert min(sheet.shape[:2]) > 400
    [text] = result.outputs[str(matching(graph, MAP)[0]["id"])]["text"]
    assert [f"image {number}" in text for number in range(1, TARGETS + 3)] == [False, *[True] * TARGETS, False]


def test_the_pictures_are_those_without_the_record(draw, icon_graph, object_info):
    """The map and the report say nothing of them."""

    def of_the_set(graph: Graph) -> list[np.ndarray]:
        for kind in (MAP, REPORT):
            for node in matching(graph, kind):
                node["mode"] = 2
        return draw(graph)

    shared = of_the_set(icon_graph(NAME))
    plain = of_the_set(bypass(icon_graph(NAME), "StyleAlignedRecordAttention"))
    alone = of_the_set(bypass(icon_graph(NAME), SHARING))
    assert len(shared) == TARGETS + 1
    assert all(np.array_equal(*pair) for pair in zip(shared, plain, strict=True))
    assert not any(np.array_equal(*pair) for pair in zip(shared[1:], alone[1:], strict=True))


def test_another_question_is_answered_without_sampling_again(drawn, server: Server, object_info):
    first, graph = drawn()
    [sampler] = matching(graph, "KSampler")
    [map_node] = matching(graph, MAP)
    asked = set_widget(set_widget(graph, MAP, "look_up", "point", object_info), MAP, "x", 0.25, object_info)
    steps: list[str] = []
    second = server.run(to_prompt(asked, object_info), lambda node, done, total: steps.append(node))
    assert str(sampler["id"]) not in steps
    texts = [result.outputs[str(map_node["id"])]["text"][0] for result in (first, second)]
    assert "the point at x 0.25, y 0.50 looked" in texts[1]
    assert texts[0] != texts[1]


def test_a_map_of_a_set_that_does_not_share_is_refused(server: Server, icon_graph, object_info, expected_errors):
    expected_errors.append("ValueError: Nothing has been recorded")
    with pytest.raises(PromptFailed, match="Nothing has been recorded"):
        server.run(to_prompt(bypass(icon_graph(NAME), SHARING), object_info))
    assert server.alive()
