"""The workflows whose references take no place in the batch, with the icon model in place of their checkpoint."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from releases import since

from devtools.comfyui.workflow import bypass, set_widget
from devtools.pictures.thumbnails import ENLARGED, FRAME, PICTURE_SIZE, WORKFLOWS

SHARING, REFERENCE = "StyleAlignedShareAttention", "StyleAlignedReference"
WIDE, LONG, LARGE = 2 * PICTURE_SIZE, 4 * PICTURE_SIZE, round(ENLARGED * PICTURE_SIZE)
SETS = {
    "reference_any_size": (3, PICTURE_SIZE, WIDE),
    "reference_hires": (3, LARGE, LARGE),
    "reference_inpaint": (1, PICTURE_SIZE, PICTURE_SIZE),
    "reference_long_set": (3, PICTURE_SIZE, PICTURE_SIZE),
    "reference_mixed": (9, PICTURE_SIZE, PICTURE_SIZE),
    "reference_panorama": (1, PICTURE_SIZE, LONG),
    "reference_part": (3, PICTURE_SIZE, PICTURE_SIZE),
}
"""How many pictures a workflow saves, their height and their width."""


def change(one: np.ndarray, other: np.ndarray) -> float:
    return float(abs(one.astype(int) - other).mean())


def plain(graph):
    """The graph without the method: what the prompts alone give."""
    return bypass(bypass(graph, REFERENCE), SHARING)


def saved(pictures, height):
    """Without the previews of references."""
    return [picture for picture in pictures if picture.shape[:2] == height]


def test_every_one_of_them_is_tested():
    names = {path.stem for path in WORKFLOWS.glob("*.json")}
    assert {
        name for name in names if f'"{REFERENCE}"' in (WORKFLOWS / f"{name}.json").read_text("utf-8")
    } == SETS.keys()


@pytest.mark.parametrize("name", SETS)
def test_its_references_change_every_picture_that_is_saved(draw, icon_graph, name):
    number, *size = SETS[name]
    graph = icon_graph(name)
    pictures, without = (saved(draw(each), tuple(size)) for each in (graph, plain(graph)))
    assert len(pictures) == len(without) == number
    assert len({picture.tobytes() for picture in pictures}) == number
    for picture, other in zip(pictures, without, strict=True):
        assert picture.std() > 2
        assert change(picture, other) > 1


@pytest.mark.thorough
def test_a_weight_of_nothing_is_a_style_that_is_not_there(draw, icon_graph, object_info):
    graph = icon_graph("reference_mixed")
    mixed = draw(graph)
    for title in ("First: 0.25", "First: 0.5", "First: 0.75"):
        graph = set_widget(graph, title, "weight", 0.0, object_info)
    other = set_widget(graph, "The first style", "image", "heart.png", object_info)
    pairs = list(zip(draw(graph), draw(other), mixed, strict=True))
    assert all(np.array_equal(one, two) for one, two, _ in pairs)
    assert all(change(one, three) > 1 for one, _, three in pairs)


@pytest.mark.thorough
def test_mixes_go_from_one_style_to_the_other(draw, icon_graph, server):
    """Their mean colours stand in the order of the weights between the two pictures' own."""
    pictures = [picture.reshape(-1, 3).mean(0) for picture in draw(icon_graph("reference_mixed", steps=12))]
    first, second = (np.asarray(Image.open(server.base / "input" / f"{name}.png"), float).reshape(-1, 3).mean(0)
                     for name in ("example", "second"))  # fmt: skip
    along = [
        np.mean([(each - first) @ (second - first) for each in pictures[start : start + 3]]) for start in (0, 3, 6)
    ]
    assert along == sorted(along)


@since("0.30.0", "line in the log for each window")
def test_the_windows_go_over_the_width(draw, icon_graph, server):
    before = len(server.log_text())
    draw(icon_graph("reference_panorama"))
    for start in range(0, LONG - PICTURE_SIZE + 1, PICTURE_SIZE // 2):
        assert f"frames {start}-{start + PICTURE_SIZE - 1} of {LONG}" in server.log_text()[before:]


def test_each_window_reads_the_reference(draw, icon_graph):
    graph = icon_graph("reference_panorama")
    [panorama], [without] = (saved(each, (PICTURE_SIZE, LONG)) for each in (draw(graph), draw(plain(graph))))
    columns = abs(panorama.astype(int) - without).mean((0, 2))
    assert columns.reshape(-1, PICTURE_SIZE // 4).mean(1).min() > 1


def test_a_photo_stays_where_it_is_not_painted(draw, icon_graph, server):
    [picture] = draw(icon_graph("reference_inpaint"))
    photo = np.asarray(Image.open(server.base / "input" / "photo.png").convert("RGB"))
    inner = slice(FRAME + 1, -FRAME - 1)
    kept = np.ones(photo.shape[:2], bool)
    kept[inner, inner] = False
    assert change(picture[kept], photo[kept]) < 1
    assert change(picture[inner, inner], photo[inner, inner]) > 5


def test_what_is_painted_over_gives_no_style(draw, icon_graph):
    graph = icon_graph("reference_part")
    for one, other in zip(draw(graph), draw(bypass(graph, "InvertMask")), strict=True):
        assert change(one, other) > 1  # the one style is that of the frame, the other that of what is within


def test_a_picture_of_a_long_set_does_not_depend_on_the_others(draw, icon_graph, object_info):
    graph = icon_graph("reference_long_set")
    other = set_widget(graph, "Picture 2", "text", "a sun", object_info)
    pairs = zip(draw(graph), draw(other), strict=True)
    assert [np.array_equal(*pair) for pair in pairs] == [True, False, True]
