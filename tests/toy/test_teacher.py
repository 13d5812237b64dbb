"""The UNet that teaches the small transformer where noise leaves little to see."""

import pytest
import torch


@pytest.fixture(scope="module")
def taught(comfyui_path):
    from toy.trainer import Trainer

    return Trainer(seed=0, network="flux", taught=1)


def test_the_teachers_guess_is_wanted_where_it_teaches(taught):
    """Only there, and it is near the icon: what the UNet knows holds for the other process' noise too."""
    clean, tokens, _, noise, _ = taught.batch(4)
    timesteps = torch.tensor([300, 500, 800, 950])
    noised = taught.process.noised(clean, noise, timesteps)
    wanted = taught.teacher.correct(clean, noised, timesteps, tokens)
    assert (wanted == clean).flatten(1).all(1).tolist() == [True, False, False, True]
    error, spread = (wanted - clean).square().mean((1, 2, 3)), clean.var((1, 2, 3))
    assert error[1] < 0.2 * spread[1]
    assert error[1] < error[2] < spread[2]


def test_the_teacher_teaches_until_a_step(taught, monkeypatch):
    batch = taught.batch(4)._replace(timesteps=torch.full((4,), 700), above=torch.zeros(4, dtype=torch.long))
    with torch.no_grad():
        early = taught.loss(*batch)
        monkeypatch.setattr(taught, "step", 1)
        late = taught.loss(*batch)
        monkeypatch.setattr(taught, "teacher", None)
        assert taught.loss(*batch) == late
    assert early < late  # without the chance of one picture among many that could have been noised
