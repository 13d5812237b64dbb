"""The judge that reads icons, and the colours it compares."""

import numpy as np
import pytest
import torch

from toy import icons
from toy.judge import palette_distances


def test_palettes_are_compared_with_the_fills_in_either_order():
    palette = torch.rand(5, 3, 3, generator=torch.Generator().manual_seed(0))
    assert palette_distances(palette, palette[:, [0, 2, 1]]).abs().max() == 0
    moved = palette + torch.tensor([0.3, 0.0, 0.4])
    torch.testing.assert_close(palette_distances(palette, moved), torch.full((5,), 0.5))


def test_the_judge_learns(comfyui_path):
    from toy import train_judge
    from toy.judge import Judge, oklab

    torch.manual_seed(0)
    judge, data = Judge(), icons.dataset(8, seed=0)
    answers = torch.from_numpy(data.labels), oklab(torch.from_numpy(data.palettes))
    before = train_judge.loss(judge, train_judge.pictures_of(data), *answers).item()
    train_judge.train(judge, steps=4, batch=8, peak=2e-3, seed=0)
    assert train_judge.loss(judge, train_judge.pictures_of(data), *answers).item() < before


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [  # Ottosson's own examples: white, red, green, blue
        ([1, 1, 1], [1, 0, 0]),
        ([1, 0, 0], [0.6280, 0.2249, 0.1258]),
        ([0, 1, 0], [0.8664, -0.2339, 0.1795]),
        ([0, 0, 1], [0.4520, -0.0324, -0.3115]),
    ],
)
def test_oklab(rgb, lab):
    from toy.judge import oklab

    np.testing.assert_allclose(oklab(torch.tensor(rgb, dtype=torch.float32)).numpy(), lab, atol=2e-4)
