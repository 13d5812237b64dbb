from functools import partial

import numpy as np
import pytest
import torch

from toy import icons, sampling
from toy.judge import palette_distances


@pytest.fixture(params=["unet", "flux"])
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


def test_noise_levels_are_the_hosts(comfyui_path):
    from comfy.model_sampling import ModelSamplingDiscrete, ModelSamplingDiscreteFlow

    from toy.sampling import diffusion, rectified_flow

    process = diffusion()
    torch.testing.assert_close(ModelSamplingDiscrete().sigmas, process.noise_level / process.signal, rtol=1e-4, atol=0)
    flow = ModelSamplingDiscreteFlow()
    flow.set_parameters(shift=1.0, multiplier=1.0)
    torch.testing.assert_close(flow.sigmas, rectified_flow().noise_level)


@pytest.mark.parametrize("make", ["diffusion", "rectified_flow"])
def test_a_process_is_undone_by_its_velocity(make):
    process = getattr(sampling, make)()
    clean, noise = torch.randn(2, 4, 3, 8, 8, generator=torch.Generator().manual_seed(0)).unbind()
    timesteps = torch.tensor([0, 10, 500, 999])
    noised, velocity = (each(clean, noise, timesteps) for each in (process.noised, process.velocity))
    for found, expected in zip(process.parts(noised, velocity, timesteps), (clean, noise), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(process.noise_in(noised, clean, timesteps), noise, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("make", ["diffusion", "rectified_flow"])
def test_the_sampler_finds_the_data_of_a_perfect_model(make):
    """Where all data are one picture, what a perfect model predicts is known, with any caption."""
    process = getattr(sampling, make)()
    picture = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    def predict(noised, timesteps, _tokens):
        return process.velocity(picture, process.noise_in(noised, picture, timesteps), timesteps)

    tokens = torch.zeros(2, 1)
    found = sampling.sample(predict, process, torch.randn(2, 3, 8, 8), tokens, tokens, steps=10)
    torch.testing.assert_close(found, picture.expand(2, -1, -1, -1), rtol=1e-3, atol=1e-3)


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
