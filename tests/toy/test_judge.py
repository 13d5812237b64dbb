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
    from toy.judge import Judge

    torch.manual_seed(0)
    judge, examples = Judge(), train_judge.batch_of(12, (0, 99))
    before = train_judge.loss(judge, examples).item()
    train_judge.train(judge, steps=4, batch=12, peak=2e-3, seed=0)
    assert train_judge.loss(judge, examples).item() < before


def test_the_judge_is_asked_only_what_a_picture_shows(comfyui_path):
    """A picture whose style broke says that there is no shape, and teaches nothing about styles."""
    from toy import broken, train_judge
    from toy.judge import HEADS, NONE, Judge

    whole = train_judge.whole(icons.dataset(4, seed=0))
    pieces = train_judge.in_pieces(broken.dataset(6, 0, ["mixed", "blurred"]))
    assert (pieces.labels[:, 0] == HEADS["shape"].index(NONE)).all()
    torch.manual_seed(0)
    judge = Judge()

    def learnt(*examples: train_judge.Examples) -> dict[str, torch.Tensor]:
        judge.zero_grad()
        rows = train_judge.Examples(*(torch.cat(parts) for parts in zip(*examples, strict=True)))
        train_judge.loss(judge, rows).backward()
        return {name: weight.grad for name, weight in judge.named_parameters() if not name.startswith("body")}

    alone, beside = learnt(whole), learnt(whole, pieces)
    for name, gradient in beside.items():
        is_same = bool(torch.isclose(gradient, alone[name], rtol=0.1, atol=1e-2).all())
        assert is_same == (not name.startswith("heads.shape")), name


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
