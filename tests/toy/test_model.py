"""The icon model in the host's stock loader, text, sampling and VAE nodes, in process."""

import pytest
import torch
from safetensors.torch import load_file

from devtools.comfyui.server import TOY_CHECKPOINT
from toy import icons
from toy.text_encoder import TextEncoder

TEXT_PREFIX = "cond_stage_model.transformer.text_model."


@pytest.fixture(scope="session")
def plain_encoder() -> TextEncoder:
    weights = load_file(TOY_CHECKPOINT)
    encoder = TextEncoder()
    encoder.load_state_dict(
        {name.removeprefix(TEXT_PREFIX): w.float() for name, w in weights.items() if name.startswith(TEXT_PREFIX)}
    )
    return encoder.requires_grad_(False)


@pytest.fixture(scope="session")
def nodes(comfyui_path):
    import nodes

    return nodes


def encode(nodes, icon_model, text):
    (conditioning,) = nodes.CLIPTextEncode().encode(icon_model.clip, text)
    return conditioning


def sample(nodes, icon_model, text, *, seed=1, steps=12, rows=2):
    (latent,) = nodes.EmptyLatentImage().generate(icons.SIZE, icons.SIZE, rows)
    positive, negative = encode(nodes, icon_model, text), encode(nodes, icon_model, "")
    (latent,) = nodes.KSampler().sample(
        icon_model.model, seed, steps, 3.0, "euler", "normal", positive, negative, latent
    )
    return nodes.VAEDecode().decode(icon_model.vae, latent)[0]


def test_registering_twice_registers_once(icon_model):
    import comfy.supported_models

    from toy import model

    model.register()
    assert [known.__name__ for known in comfy.supported_models.models].count("Icons") == 1


def test_the_stock_loader_recognises_the_checkpoint(icon_model):
    from comfy.model_base import ModelType

    from toy.model import IconLatent, Icons

    inner = icon_model.model.model
    assert type(inner.model_config).__name__ == Icons.__name__
    assert inner.model_type is ModelType.V_PREDICTION
    assert isinstance(inner.latent_format, IconLatent)


def test_no_other_model_is_taken_for_an_icon_model(comfyui_path):
    import comfy.supported_models

    from toy.model import Icons

    others = [known for known in comfy.supported_models.models if known.__name__ != "Icons"]
    assert len(others) > 20
    for known in others:
        assert not Icons.matches(known.unet_config), known.__name__


def test_a_stable_diffusion_unet_is_still_detected_as_such(icon_model):
    import comfy.ops
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
    from comfy.model_detection import model_config_from_unet

    shape = {"channel_mult": [1, 2, 4, 4], "num_res_blocks": [2] * 4, "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0]}
    unet = UNetModel(
        image_size=32, in_channels=4, out_channels=4, model_channels=320, context_dim=768, num_heads=8, **shape,
        transformer_depth_output=[1] * 9 + [0] * 3, transformer_depth_middle=1, use_spatial_transformer=True,
        legacy=False, dtype=torch.float32, device="meta", operations=comfy.ops.disable_weight_init,
    )  # fmt: skip
    state = {f"model.diffusion_model.{name}": weight for name, weight in unet.state_dict().items()}
    assert type(model_config_from_unet(state, "model.diffusion_model.")).__name__ == "SD15"


@pytest.mark.parametrize("text", ["", "star", "dark inked heart on nothing known", "A TREE, striped and dotted"])
def test_text_is_encoded_as_in_training(nodes, icon_model, plain_encoder, text):
    ((hidden, _),) = encode(nodes, icon_model, text)
    expected = plain_encoder(torch.tensor([icons.token_ids(icons.words(text))]))
    torch.testing.assert_close(hidden.float(), expected, rtol=1e-4, atol=1e-4)


def test_weights_move_a_token_away_from_the_empty_prompt(nodes, icon_model, plain_encoder):
    """The host's rule: weighted = empty + weight * (plain - empty), at the weighted tokens."""
    ((hidden, _),) = encode(nodes, icon_model, "dark (star:1.5)")
    plain = plain_encoder(torch.tensor([icons.token_ids(["dark", "star"])]))
    empty = plain_encoder(torch.tensor([icons.token_ids([])]))
    expected = plain.clone()
    expected[:, 2] = empty[:, 2] + 1.5 * (plain[:, 2] - empty[:, 2])
    torch.testing.assert_close(hidden.float(), expected, rtol=1e-4, atol=1e-4)


def test_tokens_round_trip(icon_model):
    tokens = icon_model.clip.tokenize("a dark star, by nobody")
    ((pairs,),) = tokens.values()
    assert [token for token, _ in pairs] == icons.token_ids(["dark", "star"])
    assert [word for _, word in icon_model.clip.tokenizer.untokenize(pairs)][:4] == ["<start>", "dark", "star", "<end>"]
    assert icon_model.clip.tokenizer.decode([token for token, _ in pairs]) == "dark star"


def test_a_long_prompt_goes_on_in_a_second_context(icon_model):
    (contexts,) = icon_model.clip.tokenize(" ".join(["star"] * 15)).values()
    assert [len(context) for context in contexts] == [icons.CONTEXT_LENGTH] * 2


def test_an_empty_latent_becomes_a_picture_of_its_size(nodes, icon_model):
    images = sample(nodes, icon_model, "dark star")
    assert images.shape == (2, icons.SIZE, icons.SIZE, 3)
    assert images.isfinite().all()
    assert images.std() > 0.05


@pytest.mark.thorough
def test_a_caption_decides_what_is_drawn(nodes, icon_model):
    """At one seed, the background of a bright icon is brighter than that of a dark one."""
    dark, bright = (sample(nodes, icon_model, f"circle {tone} flat", rows=4) for tone in ("dark", "bright"))
    border = torch.ones(icons.SIZE, icons.SIZE, dtype=torch.bool)
    border[3:-3, 3:-3] = False
    assert bright[:, border].mean() > dark[:, border].mean() + 0.2


def test_pictures_survive_the_latent_space(nodes, icon_model):
    images = torch.rand(2, icons.SIZE, icons.SIZE, 3, generator=torch.Generator().manual_seed(0))
    (latent,) = nodes.VAEEncode().encode(icon_model.vae, images)
    assert latent["samples"].shape == (2, 3, icons.SIZE, icons.SIZE)
    torch.testing.assert_close(nodes.VAEDecode().decode(icon_model.vae, latent)[0], images)
