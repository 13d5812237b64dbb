import pytest
import torch

from toy import icons


@pytest.fixture
def trainer(comfyui_path, monkeypatch):
    from toy import text_encoder, train

    monkeypatch.setenv("COMFYUI_PATH", str(comfyui_path))
    torch.manual_seed(0)
    return train.Trainer(train.host_unet(), text_encoder.TextEncoder())


def test_training_lowers_the_loss_and_exports_a_checkpoint(trainer, tmp_path):
    from comfy.sd import load_checkpoint_guess_config

    from toy import model

    data = icons.dataset(4, seed=0)
    images, tokens = torch.from_numpy(data.images), torch.from_numpy(data.tokens)
    losses = []
    for _ in range(8):
        torch.manual_seed(1)  # the same noise each time: the loss must fall
        loss = trainer.loss(images, tokens)
        trainer.update(loss, learning_rate=1e-3)
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]

    trainer.export(tmp_path / "new.safetensors")
    model.register()
    loaded, clip, vae, _ = load_checkpoint_guess_config(str(tmp_path / "new.safetensors"))
    assert type(loaded.model.model_config).__name__ == "Icons"
    assert clip is not None
    assert vae is not None


def test_training_goes_on_where_it_was_saved(trainer, tmp_path):
    data = icons.dataset(2, seed=0)
    images, tokens = torch.from_numpy(data.images), torch.from_numpy(data.tokens)
    trainer.update(trainer.loss(images, tokens), learning_rate=1e-3)
    trainer.save(tmp_path / "state.pt")
    before = [weight.clone() for weight in trainer.average]
    trainer.update(trainer.loss(images, tokens), learning_rate=1e-3)
    trainer.load(tmp_path / "state.pt")
    assert trainer.step == 1
    for weight, saved in zip(trainer.average, before, strict=True):
        torch.testing.assert_close(weight, saved, rtol=0, atol=0)


def test_noise_levels_are_the_hosts(comfyui_path):
    from comfy.model_sampling import ModelSamplingDiscrete

    from toy.train import signal_powers

    torch.testing.assert_close(1 / (1 + ModelSamplingDiscrete().sigmas ** 2), signal_powers(), rtol=1e-5, atol=1e-7)
