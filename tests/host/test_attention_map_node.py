"""The node Attention Map: what goes in, what comes out, and what it refuses, on runs that were recorded in a UNet."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from apart_references import apart
from sampling import sample, shared
from style_aligned.nodes.attention_map import StyleAlignedAttentionMap, StyleAlignedRecordAttention
from style_aligned.nodes.masks import StyleAlignedMasks
from style_aligned.shared_attention.attention_map.averaging import averaged
from style_aligned.shared_attention.attention_map.looking import FINEST
from style_aligned.shared_attention.attention_map.recording import AttentionRecord, RunLooks
from style_aligned.shared_attention.layers import LayerSelection
from style_aligned.shared_attention.subject_words import WORDS, Words
from tiny_models import conditioning, tiny_model
from torch import Tensor

HEIGHT, WIDTH = 64, 64
DEFAULTS: dict[str, Any] = {
    "look_up": "whole image",
    "x": 0.5,
    "y": 0.5,
    "blocks": "",
    "start_percent": 0.0,
    "end_percent": 1.0,
}


def record_of(model: Any, images: int = 3, **options: Any) -> AttentionRecord:
    """What the node before the sampler gives, after a run of so many images."""
    recording, record = StyleAlignedRecordAttention.execute(model, 4).result
    sample(recording, images, **options)
    return record


@pytest.fixture(scope="module")
def record() -> AttentionRecord:
    return record_of(shared(tiny_model("sd15")))


def pictures(count: int = 3, height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    return torch.rand(count, height, width, 3, generator=torch.Generator().manual_seed(5))


def mapped(record: AttentionRecord, images: Tensor | None = None, **inputs: Any) -> Any:
    return StyleAlignedAttentionMap.execute(record, pictures() if images is None else images, **{**DEFAULTS, **inputs})


def all_of(run: RunLooks) -> Any:
    return averaged(run, LayerSelection.parse("").or_default(""), 0.0, 1.0)


def test_pictures_in_and_picture_report_and_maps_out(record: AttentionRecord) -> None:
    output = mapped(record)
    picture, report, maps = output.result
    assert picture.ndim == 4
    assert picture.shape[0] == 1
    assert picture.dtype == torch.float32
    assert picture.min() >= 0
    assert picture.max() <= 1
    assert maps.shape == (2, HEIGHT, WIDTH)
    for number, each in all_of(record.run_of(3)).of_targets.items():
        mean = float(each.mass.sum(0).mean())
        assert f"image {number + 1}" in report
        assert f"{mean:.1%}" in report
        assert float(maps[number - 1].mean()) == pytest.approx(mean, abs=0.02)
    assert output.ui["text"] == (report,)
    assert len(output.ui["images"]) == 1


def test_maps_have_the_size_of_the_pictures(record: AttentionRecord) -> None:
    assert mapped(record, pictures(height=40, width=72)).result[2].shape == (2, 40, 72)


def test_blocks_and_steps_are_chosen(record: AttentionRecord) -> None:
    every = mapped(record).result
    some = mapped(record, blocks="input.1").result
    late = mapped(record, start_percent=0.5).result
    assert "input.1" in some[1]
    assert "middle" not in some[1].split("by block")[1]
    assert not torch.equal(some[2], every[2])
    assert not torch.equal(late[2], every[2])


def field_of(text: str) -> tuple[float, float]:
    """x and y of the place that image 2 looked at most, in the report's words."""
    [line] = [line for line in text.splitlines() if line.startswith("  image 2: most at")]
    words = line.split("most at ")[1].split(" (")[0].replace(",", "").split()
    return float(words[1]), float(words[3])


def expected_field(record: AttentionRecord, rows: slice, columns: slice) -> tuple[float, float]:
    """The same from the places themselves, each of the part counting as much."""
    places = all_of(record.run_of(3)).of_targets[1].places[0]
    seen = places[rows, columns].mean((0, 1))
    number = int(seen.argmax())
    return (number % FINEST + 0.5) / FINEST, (number // FINEST + 0.5) / FINEST


def sharp_record() -> AttentionRecord:
    """A run in which every part of the target looked elsewhere: at the place of the reference that mirrors its own."""
    record = record_of(shared(tiny_model("sd15")))
    for look in record.run_of(3).looks:
        for seen in look.seen:
            rows, columns, down, across = seen.places.shape[1:]
            seen.places.zero_()
            for row in range(rows):
                for column in range(columns):
                    y, x = row * down // rows, column * across // columns
                    seen.places[:, row, column, down - 1 - y, across - 1 - x] = 0.5
    return record


CORNERS = {(0.1, 0.1): (slice(0, 1), slice(0, 1)), (0.9, 0.1): (slice(0, 1), slice(-1, None))}


@pytest.mark.parametrize("at", CORNERS)
def test_a_point_and_a_mask_there_find_what_looked(at: tuple[float, float]) -> None:
    record, (x, y) = sharp_record(), at
    mask = torch.zeros(1, 2, 2)
    mask[0, int(2 * y), int(2 * x)] = 1.0
    for inputs in ({"look_up": "point", "x": x, "y": y}, {"look_up": "mask", "mask": mask}):
        across, down = field_of(mapped(record, **inputs).result[1])
        assert (across > 0.5) == (x < 0.5), inputs  # mirrored
        assert (down > 0.5) == (y < 0.5), inputs


def test_a_mask_over_all_is_the_whole_image(record: AttentionRecord) -> None:
    whole = mapped(record).result[1].split("by block")[0].splitlines()
    masked = mapped(record, look_up="mask", mask=torch.ones(1, 8, 8)).result[1].split("by block")[0].splitlines()
    assert [line for line in masked if "most at" in line] == [line for line in whole if "most at" in line]


def test_a_point_is_where_its_field_looked(record: AttentionRecord) -> None:
    places = all_of(record.run_of(3)).of_targets[1].places
    rows, columns = places.shape[1:3]
    text = mapped(record, look_up="point", x=0.5 / columns, y=0.5 / rows).result[1]
    assert field_of(text) == pytest.approx(expected_field(record, slice(0, 1), slice(0, 1)), abs=0.01)


@pytest.mark.parametrize("at", [(0.0, 0.0), (1.0, 1.0), (0.99, 0.5)])
def test_a_point_of_a_small_picture_is_a_place_of_it(record: AttentionRecord, at: tuple[float, float]) -> None:
    """One pixel is more than a point's field then."""
    report = mapped(record, pictures(height=8, width=8), look_up="point", x=at[0], y=at[1]).result[1]
    assert f"where the point at x {at[0]:.2f}, y {at[1]:.2f} looked" in report


def test_one_mask_for_each_target(record: AttentionRecord) -> None:
    masks = torch.zeros(2, 8, 8)
    masks[0, :4], masks[1, 4:] = 1.0, 1.0
    both = mapped(record, look_up="mask", mask=masks).result[1]
    first = mapped(record, look_up="mask", mask=masks[:1]).result[1]
    second = mapped(record, look_up="mask", mask=masks[1:]).result[1]
    lines = [[line for line in text.splitlines() if "most at" in line] for text in (both, first, second)]
    assert lines[0] == [lines[1][0], lines[2][1]]


def test_references_apart_with_and_without_their_pictures() -> None:
    record = record_of(apart(apart(shared(tiny_model("sd15")), seed=22)), images=2)
    grey = mapped(record, pictures(2))
    shown = mapped(record, pictures(2), references=pictures(2, 24, 16))
    first = mapped(record, pictures(2), references=pictures(1, 24, 16))
    assert "reference 2" in grey.result[1]
    assert grey.result[1] == shown.result[1] == first.result[1]
    assert grey.result[2].shape == (2, HEIGHT, WIDTH)
    sheets = [output.result[0] for output in (grey, first, shown)]
    of_first, of_second = (changed_rows(one, other) for one, other in itertools.pairwise(sheets))
    assert of_first.max() < of_second.min()  # the maps of each reference have its own picture below them


def changed_rows(one: Tensor, other: Tensor) -> Tensor:
    """The rows of pixels in which two sheets differ."""
    return (one != other).any(3).any(2)[0].nonzero()


def test_protected_references_are_looked_at() -> None:
    """Their tokens count for each target and chunk by itself, of which only the positive chunk's are asked."""
    positive = conditioning(3, seed=1)
    positive[0][1][WORDS] = Words({"cat": (1, 2)}, positive[0][0].shape[1])
    model = shared(tiny_model("sd15"))
    mean = {}
    for amount in (0.0, 1.0):
        protecting = StyleAlignedMasks.execute(model, protect_content=amount).result[0]
        looked = all_of(record_of(protecting, steps=4, positive=positive).run_of(3))
        mean[amount] = torch.stack([each.mass.mean() for each in looked.of_targets.values()]).mean()
    assert mean[1.0] < mean[0.0]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another number of images": ({"images": pictures(2)}, r"There are 2 images, and .* is of runs of 3\."),
    "no mask": ({"look_up": "mask"}, "look_up is mask, and no mask is connected"),
    "a black mask": ({"look_up": "mask", "mask": torch.zeros(1, 8, 8)}, "The mask is black everywhere"),
    "three masks": ({"look_up": "mask", "mask": torch.ones(3, 8, 8)}, "There are 3 masks and 2 images that take on"),
    "blocks that the model has not": ({"blocks": "input.99"}, r"input\.99"),
    "an empty range": ({"start_percent": 0.9, "end_percent": 0.1}, "Nothing was recorded between .* 0.9 and .* 0.1"),
    "a point outside": ({"look_up": "point", "x": 1.5}, "x"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_shown_is_refused_in_words(record: AttentionRecord, case: str) -> None:
    inputs, words = REFUSED[case]
    with pytest.raises(ValueError, match=words):
        mapped(record, **inputs)


def test_a_record_of_no_run_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Nothing has been recorded\. Sample with the model"):
        mapped(AttentionRecord(4))


def test_bad_words_for_blocks_are_refused_before_anything_runs() -> None:
    assert StyleAlignedAttentionMap.validate_inputs(blocks="input.1, middle") is True
    assert "wibble" in str(StyleAlignedAttentionMap.validate_inputs(blocks="wibble.2"))


@pytest.mark.parametrize("steps", [0, 10001])
def test_a_record_of_no_steps_is_refused(steps: int) -> None:
    with pytest.raises(ValueError, match="steps"):
        StyleAlignedRecordAttention.execute(shared(tiny_model("sd15")), steps)
