"""Training a small icon model: the trainer, what it draws, and the program."""

from functools import partial

import numpy as np
import pytest
import torch
from every_day import every_day

from toy import icons


@pytest.fixture(params=every_day(["unet", "flux"], ["flux"]))
def new_trainer(comfyui_path, monkeypatch, request):
    """Of each of the models: a function of the seed."""
    from toy.trainer import Trainer

    monkeypatch.setenv("COMFYUI_PATH", str(comfyui_path))
    return partial(Trainer, network=request.param)


def weights_of(trainer):
    return [weight.detach().clone() for weight in (*trainer.weights, *trainer.average)]


def steps(trainer, count, rows=2):
    for _ in range(count):
        trainer.train_step(trainer.batch(rows), learning_rate=1e-3)


def test_training_lowers_the_loss_and_exports_a_checkpoint(new_trainer, tmp_path):
    from comfy.sd import load_checkpoint_guess_config

    from toy import model

    trainer = new_trainer(seed=0)
    batch = trainer.batch(4)  # the same each time: the loss must fall
    losses = [trainer.train_step(batch, learning_rate=1e-3) for _ in range(8)]
    assert losses[-1] < 0.8 * losses[0]

    trainer.export(tmp_path / "new.safetensors")
    model.register()
    loaded, clip, vae, _ = load_checkpoint_guess_config(str(tmp_path / "new.safetensors"))
    assert isinstance(loaded.model.model_config, model.Icons | model.FluxIcons)
    assert clip is not None
    assert vae is not None


def perfect(trainer, clean):
    """What a model that knows the pictures would predict, in the place of the trainer's own."""

    def predict(noised, timesteps, _tokens):
        known = clean[: len(noised)]
        return trainer.process.velocity(known, trainer.process.noise_in(noised, known, timesteps), timesteps)

    return predict


def test_inputs_are_noised_or_brought_down_by_the_model(new_trainer, monkeypatch):
    trainer = new_trainer(seed=0)
    clean, tokens, _, noise, _ = trainer.batch(4)
    clean = clean[:1].expand(4, -1, -1, -1)
    timesteps, above = torch.tensor([0, 20, 60, 90]), torch.tensor([0, 150, 0, 5])
    noised = trainer.process.noised(clean, noise, timesteps)

    inputs = trainer.inputs(clean, tokens, timesteps, noise, above)
    assert (inputs == noised).flatten(1).all(1).tolist() == [True, False, True, False]

    monkeypatch.setattr(trainer, "predict", perfect(trainer, clean))  # its steps stay on the line to the noise
    torch.testing.assert_close(trainer.inputs(clean, tokens, timesteps, noise, above), noised, rtol=1e-4, atol=1e-4)


def test_noise_levels_are_drawn_where_they_matter_most(comfyui_path):
    """The UNet's rather low, where details settle, the transformer's rather in the middle; each has all of them."""
    from toy.networks import IconFlux, IconUNet
    from toy.sampling import TIMESTEPS

    for kind, quartiles in ((IconUNet, (0.125, 0.354, 0.65)), (IconFlux, (0.37, 0.57, 0.75))):
        timesteps = kind().draw_timesteps(4000, torch.Generator().manual_seed(0))
        assert timesteps.min() < 0.01 * TIMESTEPS
        assert 0.99 * TIMESTEPS < timesteps.max() < TIMESTEPS
        found = np.quantile(timesteps.numpy(), (0.25, 0.5, 0.75)) / TIMESTEPS
        np.testing.assert_allclose(found, quartiles, atol=0.03)


def test_hard_shapes_are_drawn_twice_as_often():
    shapes = [*icons.SHAPES, "sun"]
    drawn = icons.dataset(3000, 0, shapes).labels[:, 0]
    shares = np.bincount(drawn, minlength=len(icons.SHAPES)) / len(drawn)
    assert shares[icons.SHAPES.index("sun")] == pytest.approx(2 / len(shapes), rel=0.2)
    assert np.median(shares) == pytest.approx(1 / len(shapes), rel=0.1)


def test_only_settled_inputs_come_from_the_model(new_trainer):
    from toy.trainer import FARTHEST, SETTLED

    trainer = new_trainer(seed=0)
    _, _, timesteps, _, above = trainer.batch(400)
    settled = trainer.process.power()[timesteps] > SETTLED
    assert (above[~settled] == 0).all()
    assert 0.3 < (above[settled] > 0).float().mean() < 0.7
    assert above.max() <= FARTHEST


def test_the_loss_is_nothing_for_a_perfect_model_and_counts_grain_once_it_is_settled(new_trainer, monkeypatch):
    from toy.trainer import GRAIN_WEIGHT

    trainer = new_trainer(seed=0)
    clean, tokens, _, noise, above = trainer.batch(1)
    checkers = torch.ones(32, 32)
    checkers[::2, ::2] = checkers[1::2, 1::2] = -1
    clean = torch.zeros_like(clean)  # all of it one flat area

    def loss(timestep, error):
        exact = perfect(trainer, clean)
        monkeypatch.setattr(trainer, "predict", lambda *inputs: exact(*inputs) + error)
        return trainer.loss(clean, tokens, torch.tensor([timestep]), noise, 0 * above).item()

    counts = trainer.network.importance[20].item()
    assert loss(20, 0) == pytest.approx(0, abs=1e-6)
    assert loss(20, 0.1) == pytest.approx(0.01 * counts, rel=1e-3)  # a colour that is a little off
    assert loss(20, 0.1 * checkers) == pytest.approx((0.01 + GRAIN_WEIGHT * 2 * 0.04) * counts, rel=1e-3)
    assert loss(600, 0.1 * checkers) == pytest.approx(0.01, rel=1e-3)


def test_a_seed_decides_a_run(new_trainer):
    first, second, other = (new_trainer(seed) for seed in (3, 3, 4))
    for trainer in (first, second, other):
        steps(trainer, 2)
    for weight, same in zip(weights_of(first), weights_of(second), strict=True):
        torch.testing.assert_close(weight, same, rtol=0, atol=0)
    assert any((weight != same).any() for weight, same in zip(weights_of(first), weights_of(other), strict=True))


@pytest.mark.usefixtures("_full_precision")
def test_workers_share_a_batch(new_trainer):
    alone, shared = new_trainer(seed=0), new_trainer(seed=0, workers=2)
    for trainer in (alone, shared):
        trainer.train_step(trainer.batch(4), learning_rate=1e-3)
    for weight, same in zip(alone.weights, shared.weights, strict=True):
        torch.testing.assert_close(weight.grad, same.grad, rtol=1e-3, atol=1e-5)


def test_a_stopped_run_goes_on_as_if_it_had_not_been(new_trainer, tmp_path):
    whole, stopped, resumed = (new_trainer(seed=0) for _ in range(3))
    steps(whole, 3)
    steps(stopped, 2)
    stopped.save(tmp_path / "state.pt")
    resumed.load(tmp_path / "state.pt")
    steps(resumed, 1)
    assert resumed.step == 3
    for weight, expected in zip(weights_of(resumed), weights_of(whole), strict=True):
        torch.testing.assert_close(weight, expected, rtol=0, atol=0)


def test_another_seed_cannot_go_on_with_a_state(new_trainer, tmp_path):
    new_trainer(seed=0).save(tmp_path / "state.pt")
    with pytest.raises(ValueError, match="begun with seed 0, not 1"):
        new_trainer(seed=1).load(tmp_path / "state.pt")


def test_a_failed_save_leaves_the_last_state(new_trainer, tmp_path, monkeypatch):
    trainer = new_trainer(seed=0)
    trainer.save(tmp_path / "state.pt")
    kept = (tmp_path / "state.pt").read_bytes()

    def fail(_state, path):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        trainer.save(tmp_path / "state.pt")
    assert (tmp_path / "state.pt").read_bytes() == kept


def test_training_can_start_from_a_checkpoint(new_trainer, tmp_path):
    trained, other = new_trainer(seed=0), new_trainer(seed=1)
    steps(trained, 1)
    trained.export(tmp_path / "trained.safetensors")
    other.start_from(tmp_path / "trained.safetensors")
    for weight, expected in zip(other.weights, trained.average, strict=True):
        torch.testing.assert_close(weight, expected.half().float(), rtol=0, atol=0)


def test_the_program_trains_and_goes_on(new_trainer, tmp_path, monkeypatch, capsys):
    from toy import train, trainer

    network = new_trainer.keywords["network"]

    def run(total):
        arguments = ["--model", network, "--steps", str(total), "--batch", "2", "--sheet-every", "1"]
        monkeypatch.setattr("sys.argv", ["train", *arguments, "--out", str(tmp_path)])
        return train.main()

    monkeypatch.setattr(trainer, "SHEET_ROWS", 1)
    monkeypatch.setattr(trainer, "SHEET_STEPS", 2)
    assert run(1) == 0
    assert run(2) == 0
    assert "from step 1" in capsys.readouterr().out
    name = train.NETWORKS[network].file_name
    endings = (".safetensors", ".state.pt", "-000001.png", "-000002.png")
    assert {path.name for path in tmp_path.iterdir()} == {name + ending for ending in endings}


def test_the_learning_rate_rises_stays_and_falls():
    from toy.train import learning_rate

    rates = [learning_rate(step, 2000, 1e-3) for step in range(2000)]
    assert rates[0] < rates[100] < rates[200] == rates[1000] == 1e-3
    assert rates[1300] > rates[1600] > rates[1999] > 0
