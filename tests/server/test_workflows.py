"""The shipped workflows on the server, with small models: unchanged but for size and steps.

Those for UNets have the icon model in place of their checkpoint. Those for transformers are given the files they name,
of random weights, by `miniatures/`; every node is the host's own or the pack's, the loaders too.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

from devtools.comfyui.workflow import bypass, matching, set_widget, widget_values
from devtools.pictures.thumbnails import LINE_PICTURE, PICTURE_SIZE, WORKFLOWS

TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in WORKFLOWS.glob("*.json")}
OTHERS = ('"StyleAlignedReference"', '"StyleAlignedAttentionMap"')
NAMES = sorted(name for name, text in TEXTS.items() if not any(node in text for node in OTHERS))
"""Those whose reference is the first of the batch, and that show no map; the others have tests of their own."""
TRANSFORMERS = [name for name in NAMES if "UNETLoader" in TEXTS[name]]
SHARING = "StyleAlignedShareAttention"
NOT_WHOLE = re.compile(r".*(?:unet missing|unet unexpected|clip missing|Missing VAE keys|left over keys).*")
"""What the host logs of weights that a file lacks, or has and nothing reads."""
LEAST_CHANGE = {"style_aligned_flux": 0.1}
"""Of a pixel by sharing, in the mean, where less than 1: this text has 256 tokens, a picture of this size 4."""


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return np.array_equal(one, other)


def prompts(graph, object_info) -> list[str]:
    """One a row: where the reference is given, its own is not among the lines."""
    [node] = matching(graph, "StyleAlignedPrompts")
    lines = widget_values(node, object_info)["prompts"].splitlines()
    given = any(slot["name"] == "reference" and slot.get("link") for slot in node["inputs"])
    return ["the reference's", *lines] if given else lines


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_draws_a_picture_for_each_prompt(draw, icon_graph, object_info, name):
    graph = icon_graph(name)
    pictures = draw(graph)
    assert len(pictures) == len(prompts(graph, object_info)) > 2
    for picture in pictures:
        assert picture.shape == (PICTURE_SIZE, PICTURE_SIZE, 3)
        assert picture.std() > 2
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)


@pytest.mark.parametrize("name", NAMES)
def test_sharing_changes_all_pictures_but_the_reference(draw, icon_graph, name):
    graph = icon_graph(name)
    reference, *targets = draw(graph)
    plain_reference, *plain_targets = draw(bypass(graph, SHARING))
    assert same(reference, plain_reference)
    for target, plain in zip(targets, plain_targets, strict=True):
        assert abs(target.astype(int) - plain).mean() > LEAST_CHANGE.get(name, 1)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_the_small_models_are_read_whole(draw, icon_graph, server, name):
    draw(icon_graph(name))
    log = server.log_text()
    assert "loaded completely" in log
    assert not NOT_WHOLE.findall(log)


@pytest.mark.thorough
def test_backgrounds_come_closer_to_the_references(draw, icon_graph):
    def distance(pictures):
        borders = [np.concatenate([picture[:2].reshape(-1, 3), picture[-2:].reshape(-1, 3)]) for picture in pictures]
        reference, *targets = [border.mean(0) for border in borders]
        return np.mean([abs(target - reference).mean() for target in targets])

    graph = icon_graph(steps=12, cfg=3.0)
    assert distance(draw(graph)) < 0.7 * distance(draw(bypass(graph, SHARING)))


def test_a_set_can_be_queued_again_with_another_seed_and_back(draw, icon_graph):
    first, other, again = (draw(icon_graph(seed=seed)) for seed in (1, 2, 1))
    assert all(not same(*pair) for pair in zip(first, other, strict=True))
    assert all(same(*pair) for pair in zip(first, again, strict=True))


def test_settings_count_when_a_set_is_queued_again(draw, icon_graph, object_info):
    graph = icon_graph()
    shifted = set_widget(graph, SHARING, "shift", 2.0, object_info)
    with_norm = set_widget(graph, SHARING, "share_group_norm", True, object_info)
    references, *targets = zip(draw(graph), draw(shifted), draw(with_norm), strict=True)
    assert len({picture.tobytes() for picture in references}) == 1
    for variants in targets:
        assert len({picture.tobytes() for picture in variants}) == 3


def test_the_reference_does_not_depend_on_the_other_prompts(draw, icon_graph, object_info):
    graph = icon_graph()
    first, *_ = draw(graph)
    alone = set_widget(graph, "StyleAlignedPrompts", "prompts", prompts(graph, object_info)[0], object_info)
    (only,) = draw(alone)
    assert abs(only.astype(int) - first).max() <= 1  # another batch size may round differently


@pytest.mark.thorough
def test_a_hint_guides_the_picture_of_its_line_alone(draw, icon_graph, object_info):
    graph = icon_graph("style_aligned_controlnet")
    other = set_widget(graph, f"{LINE_PICTURE} 3", "image", "heart.png", object_info)
    pairs = zip(draw(graph), draw(other), strict=True)
    assert [same(*pair) for pair in pairs] == [True, True, False, True]
