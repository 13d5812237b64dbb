import numpy as np
import pytest
import torch

from toy import icons
from toy.judge import palette_distances


@pytest.fixture
def new_trainer(comfyui_path, monkeypatch):
    from toy import train

    monkeypatch.setenv("COMFYUI_PATH", str(comfyui_path))
    return train.Trainer


def weights_of(trainer):
    return [weight.detach().clone() for weight in (*trainer.weights, *trainer.average)]


def steps(trainer, count, rows=2):
    for _ in range(count):
        trainer.update(trainer.loss(*trainer.batch(rows)), learning_rate=1e-3)


def test_training_lowers_the_loss_and_exports_a_checkpoint(new_trainer, tmp_path):
    from comfy.sd import load_checkpoint_guess_config

    from toy import model

    trainer = new_trainer(seed=0)
    batch = trainer.batch(4)  # the same each time: the loss must fall
    losses = []
    for _ in range(8):
        loss = trainer.loss(*batch)
        trainer.update(loss, learning_rate=1e-3)
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]

    trainer.export(tmp_path / "new.safetensors")
    model.register()
    loaded, clip, vae, _ = load_checkpoint_guess_config(str(tmp_path / "new.safetensors"))
    assert type(loaded.model.model_config).__name__ == "Icons"
    assert clip is not None
    assert vae is not None


def perfect(trainer, clean):
    """What a model that knows the pictures would predict, in the place of the trainer's own."""

    def predict(noised, timesteps, _tokens):
        power = trainer.signal[timesteps].view(-1, 1, 1, 1)
        return (power.sqrt() * noised - clean[: len(noised)]) / (1 - power).sqrt()

    return predict


def test_inputs_are_noised_or_brought_down_by_the_model(new_trainer, monkeypatch):
    trainer = new_trainer(seed=0)
    clean, tokens, _, noise, _ = trainer.batch(4)
    clean = clean[:1].expand(4, -1, -1, -1)
    timesteps, above = torch.tensor([0, 20, 60, 90]), torch.tensor([0, 150, 0, 5])
    noised = trainer.mixed(clean, noise, timesteps)

    inputs = trainer.inputs(clean, tokens, timesteps, noise, above)
    assert (inputs == noised).flatten(1).all(1).tolist() == [True, False, True, False]

    monkeypatch.setattr(trainer, "predict", perfect(trainer, clean))  # its steps stay on the line to the noise
    torch.testing.assert_close(trainer.inputs(clean, tokens, timesteps, noise, above), noised, rtol=1e-4, atol=1e-4)


def test_lower_noise_levels_are_drawn_more_often(new_trainer):
    from toy.sampling import TIMESTEPS

    _, _, timesteps, _, _ = new_trainer(seed=0).batch(400)
    assert timesteps.min() >= 0
    assert timesteps.max() < TIMESTEPS
    assert timesteps.median() < 0.42 * TIMESTEPS  # 0.5 if all were as frequent


def test_only_settled_inputs_come_from_the_model(new_trainer):
    from toy.train import FARTHEST, SETTLED

    trainer = new_trainer(seed=0)
    _, _, timesteps, _, above = trainer.batch(400)
    settled = trainer.signal[timesteps] > SETTLED
    assert (above[~settled] == 0).all()
    assert 0.3 < (above[settled] > 0).float().mean() < 0.7
    assert above.max() <= FARTHEST


def test_the_loss_is_nothing_for_a_perfect_model_and_counts_grain_once_it_is_settled(new_trainer, monkeypatch):
    from toy.train import GRAIN_WEIGHT

    trainer = new_trainer(seed=0)
    clean, tokens, _, noise, above = trainer.batch(1)
    checkers = torch.ones(32, 32)
    checkers[::2, ::2] = checkers[1::2, 1::2] = -1
    clean = torch.zeros_like(clean)  # all of it one flat area

    def loss(timestep, error):
        exact = perfect(trainer, clean)
        monkeypatch.setattr(trainer, "predict", lambda *inputs: exact(*inputs) + error)
        return trainer.loss(clean, tokens, torch.tensor([timestep]), noise, 0 * above).item()

    assert loss(20, 0) == pytest.approx(0, abs=1e-6)
    assert loss(20, 0.1) == pytest.approx(0.01, rel=1e-3)  # a colour that is a little off
    assert loss(20, 0.1 * checkers) == pytest.approx(0.01 + GRAIN_WEIGHT * 2 * 0.04, rel=1e-3)
    assert loss(600, 0.1 * checkers) == pytest.approx(0.01, rel=1e-3)


def test_a_seed_decides_a_run(new_trainer):
    first, second, other = (new_trainer(seed) for seed in (3, 3, 4))
    for trainer in (first, second, other):
        steps(trainer, 2)
    for weight, same in zip(weights_of(first), weights_of(second), strict=True):
        torch.testing.assert_close(weight, same, rtol=0, atol=0)
    assert any((weight != same).any() for weight, same in zip(weights_of(first), weights_of(other), strict=True))


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
    from toy import train

    def run(total):
        arguments = ["train", "--steps", str(total), "--batch", "2", "--sheet-every", "1", "--out", str(tmp_path)]
        monkeypatch.setattr("sys.argv", arguments)
        return train.main()

    monkeypatch.setattr(train, "SHEET_ROWS", 1)
    monkeypatch.setattr(train, "SHEET_STEPS", 2)
    assert run(1) == 0
    assert run(2) == 0
    assert "from step 1" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {
        train.CHECKPOINT, train.STATE, "samples-000001.png", "samples-000002.png",
    }  # fmt: skip


def test_the_learning_rate_rises_stays_and_falls():
    from toy.train import learning_rate

    rates = [learning_rate(step, 2000, 1e-3) for step in range(2000)]
    assert rates[0] < rates[100] < rates[200] == rates[1000] == 1e-3
    assert rates[1300] > rates[1600] > rates[1999] > 0


def test_noise_levels_are_the_hosts(comfyui_path):
    from comfy.model_sampling import ModelSamplingDiscrete

    from toy.sampling import signal_powers

    torch.testing.assert_close(1 / (1 + ModelSamplingDiscrete().sigmas ** 2), signal_powers(), rtol=1e-5, atol=1e-7)


def test_the_sampler_finds_the_data_of_a_perfect_model():
    """Where all data are one picture, the v that a perfect model predicts is known, with any caption."""
    from toy.sampling import sample, signal_powers

    picture = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    def predict(noised, timesteps, _tokens):
        power = signal_powers()[timesteps].view(-1, 1, 1, 1)
        noise = (noised - power.sqrt() * picture) / (1 - power).sqrt()
        return power.sqrt() * noise - (1 - power).sqrt() * picture

    tokens = torch.zeros(2, 1)
    found = sample(predict, torch.randn(2, 3, 8, 8), tokens, tokens, steps=10)
    torch.testing.assert_close(found, picture.expand(2, -1, -1, -1), rtol=1e-3, atol=1e-3)


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
