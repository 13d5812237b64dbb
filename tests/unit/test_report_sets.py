"""The report of whole sets: what the numbers do when the pictures change, what is said, and what is drawn."""

from __future__ import annotations

import pytest
import torch
from style_aligned.shared_attention.report.drawing import CELL, COLUMNS, drawn
from style_aligned.shared_attention.report.measure import Measured, measure
from style_aligned.shared_attention.report.pictures import as_pictures
from style_aligned.shared_attention.report.wording import report


def pictures(count: int, height: int = 48, width: int = 48, seed: int = 0) -> torch.Tensor:
    """In one palette, each with a light disc elsewhere."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    drawn = []
    for _ in range(count):
        across, down = (0.25 + 0.5 * torch.rand(2, generator=generator)).tolist()
        disc = ((x - across) ** 2 + (y - down) ** 2 < 0.04).float()[..., None]
        paper = torch.tensor([0.2, 0.3, 0.6]) + 0.05 * torch.rand(height, width, 1, generator=generator)
        drawn.append(disc * torch.tensor([0.9, 0.8, 0.3]) + (1 - disc) * paper)
    return torch.stack(drawn)


def tables(measured: Measured) -> dict[str, torch.Tensor]:
    return {each.name: each.table for each in measured.measures}


def test_the_same_picture_is_no_distance_away_and_copied_whole():
    found = tables(measure("images", pictures(1).expand(5, -1, -1, -1), None))
    assert found["palette"].abs().max() == 0
    assert found["texture"].abs().max() == 0
    torch.testing.assert_close(found["copying"], torch.ones(5, 5))


def test_the_order_of_pictures_makes_no_difference():
    batch, order = pictures(5), torch.tensor([3, 0, 4, 1, 2])
    first, second = (tables(measure("images", each, batch[:1])) for each in (batch, batch[order]))
    with_reference = torch.cat([torch.tensor([0]), 1 + order])
    for name, table in first.items():
        torch.testing.assert_close(second[name], table[with_reference][:, with_reference], msg=name)


def test_a_mirrored_composition_is_copied_less_and_has_the_same_style():
    one = pictures(1, seed=3)
    found = tables(measure("images", torch.cat([one, one.flip(2)]), None))
    assert found["copying"][0, 1] < 0.8
    assert found["palette"][0, 1] < 0.01
    assert found["texture"][0, 1] < 0.01


def test_a_recoloured_picture_falls_out():
    batch = pictures(6)
    assert measure("images", batch, None).fallen_out() == []
    batch[4] = batch[4].flip(-1)
    (name, by, _), *_ = measure("images", batch, None).fallen_out()
    assert (name, by) == ("5", "palette")


@pytest.mark.parametrize("size", [(96, 96), (64, 200), (1, 1), (3, 500)])
def test_a_reference_of_another_size(size: tuple[int, int]):
    measured = measure("images", pictures(2), pictures(1, *size))
    assert all(each.table.isfinite().all() for each in measured.measures)
    assert drawn([measured]).isfinite().all()


def test_a_picture_and_itself_at_another_size_are_alike():
    large = pictures(1, 512, 512)
    small = torch.nn.functional.interpolate(large.movedim(-1, 1), (256, 256), mode="area").movedim(1, -1)
    found = tables(measure("images", small, large))
    assert found["palette"][0, 1] < 0.02
    assert found["copying"][0, 1] > 0.99


def test_without_a_vision_model_there_is_no_style_and_content():
    assert list(tables(measure("images", pictures(2), None))) == ["palette", "texture", "copying"]


def test_one_picture_with_a_reference_is_enough():
    text = report([measure("images", pictures(1), pictures(1, seed=1))])
    assert "images: 1 against the reference, 48 x 48" in text
    assert "it takes 4 pictures to tell" in text
    assert "nan" not in text


@pytest.mark.parametrize(
    ("images", "reference", "said"),
    [
        (pictures(1), None, "compared_with has one picture and there is no reference.*Connect a set of two or more"),
        (pictures(2), pictures(3), "reference has 3 pictures; give one. ImageFromBatch"),
    ],
)
def test_what_cannot_be_compared(images: torch.Tensor, reference: torch.Tensor | None, said: str):
    with pytest.raises(ValueError, match=said):
        measure("compared_with", images, reference)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (torch.zeros(0, 8, 8, 3), r"images is no batch of pictures: its shape is \(0, 8, 8, 3\). Connect an IMAGE"),
        (torch.zeros(2, 8, 8, 2), "no batch of pictures"),
        (torch.zeros(8, 8, 3), "no batch of pictures"),
        (torch.full((2, 8, 8, 3), torch.nan), "not numbers in picture 1, 2.*fp32-vae"),
    ],
)
def test_what_is_no_picture(images: torch.Tensor, said: str):
    with pytest.raises(ValueError, match=said):
        as_pictures(images, "images")


def test_alpha_is_dropped_grey_is_colour_and_values_are_of_0_to_1():
    given = 3 * torch.rand(2, 5, 4, 4) - 1
    assert torch.equal(as_pictures(given, "images"), given[..., :3].clamp(0, 1))
    assert as_pictures(given[..., :1].half(), "images").shape == (2, 5, 4, 3)


def test_the_text_has_every_number():
    first, second = (
        measure(name, pictures(4, seed=seed), None) for seed, name in enumerate(("images", "compared_with"))
    )
    text = report([first, second])
    for each in (first, second):
        for name, table in tables(each).items():
            assert f"{name}, pairs" in text
            assert all(f"{float(value) + 0.0:.3f}" in text for value in table.flatten())
            assert f"{float(table[0, 1:].mean()):.3f}" in text
    assert text.index("compared_with") < text.index("images: 3")  # the means of both first


def test_pairs_of_a_large_set_are_not_listed():
    assert "pairs" not in report([measure("images", pictures(14, 8, 8), None)])


def test_the_picture_wraps_and_shows_every_picture():
    marked = torch.zeros(20, 8, 8, 3)
    marked[..., 0] = torch.linspace(0.3, 1, 20)[:, None, None]
    sheet = drawn([measure("images", marked, None)])
    assert sheet.shape[0] == 1
    assert COLUMNS * CELL < sheet.shape[2] < 1.3 * COLUMNS * CELL
    shown = {round(float(colour), 2) for colour in sheet[0][(sheet[0][..., 1:] == 0).all(-1)][:, 0].unique()}
    assert {round(round(float(value) * 255) / 255, 2) for value in marked[:, 0, 0, 0]} <= shown


def test_two_sets_are_drawn_below_each_other():
    one, two = (measure(name, pictures(3), None) for name in ("images", "compared_with"))
    alone, both = drawn([one]), drawn([one, two])
    assert both.shape[1] > 1.5 * alone.shape[1]
    assert both.min() >= 0
    assert both.max() <= 1
