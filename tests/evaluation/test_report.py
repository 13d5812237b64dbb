"""The plot of all variants, whose names have to be told apart where their points lie on each other."""

from pathlib import Path

import numpy as np
from PIL import Image

from devtools.evaluation.model_quality import Grain, Quality
from devtools.evaluation.report import Result, quality_table, scatter, spread
from devtools.evaluation.variants import VARIANTS


def test_names_are_moved_apart_and_no_further():
    assert spread([0.0, 1.0, 2.0], 0.5) == [0.0, 1.0, 2.0]
    places = spread([0.0, 0.1, 0.1, 5.0], 0.5)
    assert np.diff(places).min() >= 0.5 - 1e-9
    np.testing.assert_allclose(np.mean(places), np.mean([0.0, 0.1, 0.1, 5.0]))


def test_every_variant_is_in_the_plot_though_all_show_their_content(tmp_path: Path):
    rng = np.random.default_rng(0)
    results = [
        Result(variant, {"content": np.ones(8)}, rng.normal(number % 3, 0.1, 8), None, 1.0, {}, 0.0)
        for number, variant in enumerate(VARIANTS.values())
    ]
    scatter(results, tmp_path / "all.png")
    scatter(results[:2], tmp_path / "two.png")
    every, two = (np.asarray(Image.open(tmp_path / name).convert("L")) < 250 for name in ("all.png", "two.png"))
    assert every.sum() > two.sum()  # ink
    assert (tmp_path / "all.png").stat().st_size < 300_000


def test_the_model_s_table_names_the_word_that_is_farthest_off_at_each_guidance():
    def quality(dark: float) -> Quality:
        return Quality(
            samples=1000,
            shape_recognised=0.99,
            words_obeyed=0.98,
            obeyed={"tone": 0.97},
            frequencies={"tone": {"dark": dark, "bright": 1 - dark}},
            colour_distance=0.02,
            colour_distance_of_data=0.005,
            grain=Grain(0.01, 0.02),
            grain_of_data=Grain(0.002, 0.004),
        )

    lines = quality_table({1.0: quality(0.45), 3.0: quality(0.3)}, {"tone": {"dark": 0.4, "bright": 0.6}}).splitlines()
    assert lines[0] == "| of 1,000 plain samples | CFG 1 | CFG 3 | wanted |"
    assert "| ... tone | dark +5.0% | dark -10.0% |  |" in lines
    assert len({line.count("|") for line in lines}) == 1
