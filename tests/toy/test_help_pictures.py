"""The help pages' pictures, drawn in a few steps: the same each time, with a reference that no setting changes."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from every_day import every_day

from devtools.pictures import help_maps, help_pictures, help_plans
from devtools.pictures.help_pictures import Artist, style_folder

BY_NAME = {picture.name: picture for picture in help_plans.pictures()}


@pytest.fixture
def draw(icon_model, monkeypatch: pytest.MonkeyPatch):
    """Draws the rows of a picture: one list of pictures, as arrays, for each."""
    monkeypatch.setattr(help_pictures, "STEPS", 2)

    def rows(name: str) -> list[list[np.ndarray]]:
        artist = Artist(icon_model)
        with torch.inference_mode(), style_folder():
            return [[np.asarray(icon) for icon in artist.draw(quick(plan))] for plan in BY_NAME[name].rows.values()]

    return rows


def quick(plan: help_plans.Plan) -> help_plans.Plan:
    """The plan with few steps of inversion."""
    if plan.given is None or plan.given.inversion is None:
        return plan
    inversion = replace(plan.given.inversion, steps=4)
    return replace(plan, given=replace(plan.given, inversion=inversion))


def test_names_are_unique() -> None:
    assert len(BY_NAME) == len(help_plans.pictures())


@pytest.mark.parametrize("name", ["shift", "start_from", "inversion_cfg"])
def test_a_setting_changes_the_targets_and_not_the_reference(draw, name: str) -> None:
    first, *others = rows = draw(name)
    assert {len(row) for row in rows} == {len(BY_NAME[name].columns)}
    for row in others:
        assert np.array_equal(row[0], first[0])
        assert all(not np.array_equal(*pair) for pair in zip(row[1:], first[1:], strict=True))


def test_looking_changes_no_picture(draw) -> None:
    _, shared = draw("share_attention")
    for row in draw("attention_steps"):
        assert np.array_equal(row, shared)


@pytest.mark.parametrize("name", every_day(["attention_steps", "protect_content"], ["protect_content"]))
def test_heat_maps_stand_behind_the_reference_and_differ_between_rows(icon_model, monkeypatch, name: str) -> None:
    monkeypatch.setattr(help_pictures, "STEPS", 8)
    with torch.inference_mode():
        rows = help_maps.rows(BY_NAME[name], Artist(icon_model))
    assert {len(row.pictures) for row in rows} == {len(BY_NAME[name].columns)}
    maps = [np.stack([np.asarray(each) for each in row.pictures[1:]]) for row in rows]
    assert all(not np.array_equal(*pair) for pair in itertools.combinations(maps, 2))
    assert all(re.search(r": \d\d\.\d% on the reference$", row.heading) for row in rows)


def test_a_kept_style_comes_from_its_file(draw) -> None:
    saved, continued, alone = draw("kept_style")
    assert np.array_equal(continued[0], saved[0])
    assert not np.array_equal(alone[0], saved[0])
    assert len(continued) == len(alone) == 4


def test_drawing_twice_gives_the_same(draw) -> None:
    assert np.array_equal(draw("share_attention"), draw("share_attention"))


def test_images_drawn_alone_are_those_of_the_batch(draw) -> None:
    batch, alone, without = draw("one_by_one")
    for one, other in zip(batch, alone, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 2  # another batch size may round differently
    assert any(np.abs(one.astype(int) - other).max() > 50 for one, other in zip(batch[1:], without[1:], strict=True))


@pytest.mark.parametrize(("name", "references"), [("reference_weights", 2), ("thin", 1)])
def test_references_apart_are_shown_before_their_targets(draw, name: str, references: int) -> None:
    assert BY_NAME[name].references == references
    first, *others = rows = draw(name)
    assert {len(row) for row in rows} == {len(BY_NAME[name].columns)}
    for row in others:
        assert all(np.array_equal(*pair) for pair in zip(row[:references], first[:references], strict=True))
        assert all(not np.array_equal(*pair) for pair in zip(row[references:], first[references:], strict=True))
