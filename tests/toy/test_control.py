"""The icon model's ControlNet: the host computes what was trained, and pictures follow their hints."""

import pytest
import torch

from toy import icons
from toy.control import Control, host_state, write_checkpoint


@pytest.fixture
def training(comfyui_path, monkeypatch):
    monkeypatch.setenv("COMFYUI_PATH", str(comfyui_path))
    from toy import train_control

    return train_control


def test_the_hosts_controlnet_computes_what_was_trained(icon_model):
    import comfy.controlnet

    generator = torch.Generator().manual_seed(1)
    control = Control()
    for weight in control.parameters():
        torch.nn.init.normal_(weight, std=0.2, generator=generator)
    network = comfy.controlnet.load_controlnet_state_dict(host_state(control)).control_model.float()
    hint = torch.rand(2, 1, icons.SIZE, icons.SIZE, generator=generator)
    large = hint.repeat_interleave(8, 2).repeat_interleave(8, 3).expand(-1, 3, -1, -1)
    noised, context = torch.randn(2, 3, icons.SIZE, icons.SIZE), torch.randn(2, icons.CONTEXT_LENGTH, 128)
    with torch.no_grad():
        found = network(x=noised, hint=large, timesteps=torch.tensor([5.0, 900.0]), context=context)
        expected = control(hint)
    for name, residuals in expected.items():
        for actual, wanted in zip(found[name], residuals, strict=True):
            torch.testing.assert_close(actual, wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))


@pytest.mark.thorough
def test_pictures_show_the_shapes_of_their_hints(icon_model, training, tmp_path):
    """Without a word about them: the stock nodes, edges found by Canny, and a judge that reads the pictures."""
    import numpy as np
    from comfy.controlnet import load_controlnet

    import nodes
    from toy import judge

    shapes = ["heart", "star", "house", "tree", "mushroom", "circle"]
    rng = np.random.default_rng(3)
    coverages = np.stack([icons.place(rng, shape) for shape in shapes])
    hints = training.edges(torch.from_numpy(coverages)).expand(-1, 3, -1, -1).movedim(1, -1)
    control = load_controlnet(str(write_checkpoint(tmp_path)))
    [nothing] = nodes.CLIPTextEncode().encode(icon_model.clip, "")
    apply = nodes.ControlNetApplyAdvanced().apply_controlnet
    positive, negative = apply(nothing, nothing, control, hints, 1.0, 0.0, 1.0)
    [empty] = nodes.EmptyLatentImage().generate(icons.SIZE, icons.SIZE, len(shapes))
    arguments = (icon_model.model, 1, 15, 1.0, "euler", "normal")

    def shown(*conditionings):
        [latent] = nodes.KSampler().sample(*arguments, *conditionings, empty)
        [pictures] = nodes.VAEDecode().decode(icon_model.vae, latent)
        return [judge.HEADS["shape"][label] for label in judge.load().read(pictures).labels[:, 0]]

    guided, free = (
        sum(found == shape for found, shape in zip(shown(*pair), shapes, strict=True))
        for pair in ((positive, negative), (nothing, nothing))
    )
    assert guided >= 5
    assert free <= 2


def test_training_lowers_the_loss(training):
    trainer, batch = training.Trainer(seed=0), training.batch(2, seed=0, step=0)
    losses = [trainer.train_step(batch, learning_rate=2e-3) for _ in range(12)]
    assert losses[-1] < 0.9 * losses[0]


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(training, tmp_path):
    def steps(trainer, count):
        for _ in range(count):
            trainer.train_step(training.batch(1, 0, trainer.step), learning_rate=1e-3)
        return trainer

    whole, stopped, resumed = steps(training.Trainer(0), 3), steps(training.Trainer(0), 2), training.Trainer(1)
    stopped.save(tmp_path / "state.pt")
    resumed.load(tmp_path / "state.pt")
    steps(resumed, 1)
    for weight, expected in zip(resumed.control.parameters(), whole.control.parameters(), strict=True):
        assert torch.equal(weight, expected)
