"""The measures of a set, one by one, against the formulas in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance
from style_aligned.shared_attention.report import composition, palette, texture, vision
from style_aligned.shared_attention.report.oklab import oklab
from style_aligned.shared_attention.report.outlier import outlier
from style_aligned.shared_attention.report.vision import Seen


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((1, 1, 1), (1, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((1, 0, 0), (0.62796, 0.22486, 0.12585)),
        ((0, 1, 0), (0.86644, -0.23389, 0.17950)),
        ((0, 0, 1), (0.45201, -0.03246, -0.31153)),
    ],
)
def test_oklab_has_the_published_values(rgb: tuple[float, ...], lab: tuple[float, ...]):
    """As in CSS Color 4."""
    found = oklab(torch.tensor(rgb, dtype=torch.float64))
    torch.testing.assert_close(found, torch.tensor(lab, dtype=torch.float64), rtol=0, atol=1e-5)


@settings(max_examples=25)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.integers(0, 99))
def test_palette_is_twice_the_mean_of_wasserstein_distances(height: int, width: int, other: int, seed: int):
    pictures = [noise(height, width, 3, seed=seed), 0.5 * noise(other, height, 3, seed=seed + 1)]
    found = palette.distances(torch.stack([palette.palette(each) for each in pictures]))
    colours = [oklab(palette.sampled(each).double()).numpy() for each in pictures]
    along = [[each @ direction for each in colours] for direction in palette.directions().numpy()]
    wanted = 2 * np.mean([wasserstein_distance(*pair) for pair in along])
    assert float(found[0, 1]) == pytest.approx(wanted, rel=1e-4, abs=1e-6)
    assert torch.equal(found.diagonal(), torch.zeros(2))
    assert torch.equal(found, found.T)


def test_palette_says_how_far_colours_moved():
    """In any direction to 4%, which is how evenly the directions are spread."""
    directions = palette.directions()
    assert torch.allclose(directions.norm(dim=1), torch.ones(len(directions), dtype=torch.float64))
    moves = torch.nn.functional.normalize(torch.randn(2000, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    found = 2 * (moves.double() @ directions.T).abs().mean(1)
    assert found.min() > 0.96
    assert found.max() < 1.04
    black, white = (palette.palette(torch.full((9, 9, 3), value)) for value in (0.0, 1.0))
    assert float(palette.distances(torch.stack([black, white]))[0, 1]) == pytest.approx(1.0, abs=0.04)


@pytest.mark.parametrize("size", [(8, 8), (64, 96), (512, 512), (1, 700)])
def test_pixels_are_sampled_evenly(size: tuple[int, int]):
    height, width = size
    places = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"), -1).float()
    sampled = palette.sampled(places) + 0.5
    assert torch.allclose(sampled.mean(0), torch.tensor(size) / 2, rtol=0.01, atol=0.02)
    quarter = (sampled < torch.tensor(size) / 2).all(1).float().mean()
    assert height == 1 or float(quarter) == pytest.approx(0.25, abs=0.01)


def test_where_colours_are_makes_no_difference_to_the_palette():
    picture = noise(64, 64, 3)
    turned = torch.stack([palette.palette(each) for each in (picture, picture.flip(0), picture.rot90(dims=(0, 1)))])
    assert palette.distances(turned).max() < 0.01


def texture_oracle(lightness: np.ndarray) -> list[float]:
    """The means of all blocks by sums of the picture itself; the deviation of four from their mean."""
    height, width = lightness.shape
    found = []
    for octave in range(texture.OCTAVES):
        side = 2**octave
        squares = []
        for y in range(height - 2 * side + 1):
            for x in range(width - 2 * side + 1):
                four = [
                    lightness[y + i : y + i + side, x + j : x + j + side].mean() for i in (0, side) for j in (0, side)
                ]
                squares.append(np.var(four))
        found.append(np.mean(squares) ** 0.5)
    return found


def test_texture_is_the_deviation_of_neighbouring_blocks():
    lightness = noise(40, 37).double()
    found = texture.texture(lightness)
    assert found.tolist() == pytest.approx(texture_oracle(lightness.numpy()), rel=1e-9)
    assert float(texture.contrast(lightness)) == pytest.approx(float(np.std(lightness.numpy())), rel=1e-9)


def test_a_pattern_shows_in_its_octave_wherever_it_begins():
    stripes = (torch.arange(256) // 8 % 2).double().expand(256, -1)  # 8 pixels wide
    found = [texture.texture(stripes.roll(shift, 1)) for shift in (0, 3)]
    torch.testing.assert_close(*found, rtol=0.05, atol=1e-3)
    assert int(found[0].argmax()) == 3


def test_texture_is_told_in_doublings_and_unseen_noise_is_none():
    detail = noise(1, texture.OCTAVES).double() + 0.1
    assert float(texture.distances(torch.cat([detail, 2 * detail]))[0, 1]) == pytest.approx(1.0)
    faint = torch.tensor([[1e-9] * texture.OCTAVES, [2e-4] * texture.OCTAVES])
    assert float(texture.distances(faint)[0, 1]) == 0.0


@pytest.mark.parametrize("size", [(1, 1), (1, 512), (512, 3)])
def test_texture_of_pictures_smaller_than_its_blocks(size: tuple[int, int]):
    assert texture.texture(noise(*size)).isfinite().all()
    assert texture.texture(torch.full(size, 0.5)).abs().max() < 1e-6


def test_copying_is_pearsons_correlation():
    coarse = [noise(composition.GRID, composition.GRID, 3, seed=seed).double() for seed in range(3)]
    found = composition.correlations(torch.stack([composition.composition(each) for each in coarse]))
    centred = [(each - each.mean((0, 1))).flatten().numpy() for each in coarse]
    np.testing.assert_allclose(found.numpy(), np.corrcoef(centred), atol=1e-9)


def test_copying_of_a_negative_and_of_one_colour():
    coarse = noise(composition.GRID, composition.GRID, 3)
    flat = torch.full_like(coarse, 0.3)
    found = composition.correlations(
        torch.stack([composition.composition(each) for each in (coarse, 1 - coarse, flat)])
    )
    torch.testing.assert_close(found[0], torch.tensor([1.0, -1.0, 0.0]))


def seen(tokens: int, seed: int) -> Seen:
    return Seen(noise(8, seed=seed) - 0.5, noise(tokens, 12, seed=seed + 50) - 0.5)


def test_style_is_the_cosine_of_covariances():
    both = [seen(30, 1), seen(20, 2)]
    found = vision.style_similarities(both)
    normal = [
        ((each.tokens.double().T - each.tokens.double().mean(1)) / each.tokens.double().std(1, correction=0)).T
        for each in both
    ]
    one, other = (np.cov(each.numpy().T, bias=True).ravel() for each in normal)
    assert float(found[0, 1]) == pytest.approx(one @ other / np.linalg.norm(one) / np.linalg.norm(other), rel=1e-3)
    assert torch.equal(found, found.T)
    assert torch.equal(found.diagonal(), torch.ones(2))


def test_where_patches_are_makes_no_difference_to_style():
    given = seen(30, 1)
    found = vision.style_similarities([given, Seen(given.embedding, given.tokens.flip(0))])
    assert float(found[0, 1]) == pytest.approx(1.0, abs=1e-5)


def test_content_is_the_cosine_of_embeddings():
    both = [seen(3, 1), seen(5, 2)]
    one, other = (each.embedding.double().numpy() for each in both)
    wanted = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    assert float(vision.content_similarities(both)[0, 1]) == pytest.approx(wanted, rel=1e-5)


def table(distances: list[float]) -> torch.Tensor:
    """Of points on a line from each other."""
    points = torch.tensor(distances)
    return (points[:, None] - points).abs()


def test_the_one_far_from_all_falls_out():
    found = outlier(table([0.0, 0.01, 0.02, 0.5, 0.03]), 0.02)
    assert found is not None
    assert found.place == 3
    assert found.distance == pytest.approx((0.5 + 0.49 + 0.48 + 0.47) / 4)
    means = table([0.0, 0.01, 0.02, 0.5, 0.03]).double().sum(1).numpy() / 4
    deviation = 1.4826 * np.median(np.abs(means - np.median(means)))
    assert found.limit == pytest.approx(np.median(means) + max(3 * deviation, 0.02))


@pytest.mark.parametrize(
    "points", [[0.0, 0.1, 0.2, 0.3, 0.4], [0.0] * 5, [0.0, 0.0, 0.0, 0.0, 0.01], [0.0, 0.0, 9.0], [0.0, 9.0], [0.0]]
)
def test_none_falls_out_of_even_sets_nor_by_what_nobody_sees_nor_of_three(points: list[float]):
    assert outlier(table(points), 0.02) is None
