"""The plot of all variants, whose names have to be told apart where their points lie on each other."""

from pathlib import Path

import numpy as np
from PIL import Image

from devtools.evaluation.report import Result, scatter, spread
from devtools.evaluation.variants import VARIANTS


def test_names_are_moved_apart_and_no_further():
    assert spread([0.0, 1.0, 2.0], 0.5) == [0.0, 1.0, 2.0]
    places = spread([0.0, 0.1, 0.1, 5.0], 0.5)
    assert np.diff(places).min() >= 0.5 - 1e-9
    np.testing.assert_allclose(np.mean(places), np.mean([0.0, 0.1, 0.1, 5.0]))


def test_every_variant_is_in_the_plot_though_all_show_their_content(tmp_path: Path):
    rng = np.random.default_rng(0)
    results = [
        Result(variant, {"content": np.ones(8)}, rng.normal(number % 3, 0.1, 8), None, 1.0)
        for number, variant in enumerate(VARIANTS.values())
    ]
    scatter(results, tmp_path / "all.png")
    scatter(results[:2], tmp_path / "two.png")
    every, two = (np.asarray(Image.open(tmp_path / name).convert("L")) < 250 for name in ("all.png", "two.png"))
    assert every.sum() > two.sum()  # ink
    assert (tmp_path / "all.png").stat().st_size < 300_000
