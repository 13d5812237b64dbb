"""The icon transformer: the host's Flux as the stock loader makes it, against the one that is trained."""

import pytest
import torch

from devtools.comfyui.icon_model import Loaded, load_icon_model
from devtools.comfyui.server import FLUX_CHECKPOINT
from toy import icons, sampling
from toy.architecture import LATENT_SCALE, TEXT_WIDTH

ROWS, STEPS, CFG = 2, 6, 3.0

pytestmark = pytest.mark.usefixtures("_full_precision")


@pytest.fixture(scope="module")
def flux_model(comfyui_path) -> Loaded:
    return load_icon_model(FLUX_CHECKPOINT)


@pytest.fixture(scope="module")
def trained(comfyui_path):
    from toy.networks import IconFlux, load

    network = IconFlux()
    load(network, FLUX_CHECKPOINT)
    network.transformer.requires_grad_(False)
    return network


def test_the_stock_loader_recognises_the_checkpoint(flux_model):
    from comfy.ldm.flux.model import Flux
    from comfy.model_base import ModelType

    inner = flux_model.model.model
    assert type(inner.model_config).__name__ == "FluxIcons"
    assert type(inner.diffusion_model) is Flux
    assert inner.model_type is ModelType.FLOW
    assert not any(weight.isnan().any() for weight in inner.diffusion_model.parameters())


def test_no_other_model_is_taken_for_it(flux_model):
    import comfy.supported_models

    from toy.model import FluxIcons

    others = [known for known in comfy.supported_models.models if known.__name__ != "FluxIcons"]
    assert len(others) > 20
    for known in others:
        assert not FluxIcons.matches(known.unet_config), known.__name__


@pytest.mark.parametrize(("guidance", "expected"), [(True, "Flux"), (False, "FluxSchnell")])
def test_a_published_flux_is_still_detected_as_such(flux_model, guidance, expected):
    import comfy.ops
    from comfy.ldm.flux.model import Flux
    from comfy.model_detection import model_config_from_unet

    with torch.device("meta"):
        flux = Flux(
            image_model="flux", in_channels=16, out_channels=16, patch_size=2, hidden_size=3072, num_heads=24,
            axes_dim=[16, 56, 56], theta=10000, depth=1, depth_single_blocks=1, guidance_embed=guidance, mlp_ratio=4.0,
            vec_in_dim=768, context_in_dim=4096, qkv_bias=True, txt_ids_dims=[], dtype=torch.float32, device="meta",
            operations=comfy.ops.disable_weight_init,
        )  # fmt: skip
    state = {f"model.diffusion_model.{name}": weight for name, weight in flux.state_dict().items()}
    assert type(model_config_from_unet(state, "model.diffusion_model.")).__name__ == expected


def test_the_hosts_transformer_computes_what_the_trained_one_does(flux_model, trained):
    draws = torch.Generator().manual_seed(0)
    noised = torch.randn(ROWS, 3, icons.SIZE, icons.SIZE, generator=draws)
    context = torch.randn(ROWS, icons.CONTEXT_LENGTH, TEXT_WIDTH, generator=draws)
    pooled = torch.randn(ROWS, TEXT_WIDTH, generator=draws)
    levels = torch.tensor([0.2, 0.9])
    host = flux_model.model.model.diffusion_model.float()
    found = host(noised.clone(), levels, context.clone(), pooled, transformer_options={})
    torch.testing.assert_close(found, trained.transformer(noised, levels, context, pooled), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("text", ["", "star", "dark inked heart on nothing known"])
def test_captions_are_read_as_in_training(flux_model, trained, text):
    """The pooled state too, which is the caption's at its first end."""
    ((context, extra),) = (entry[:2] for entry in flux_model.encode(text))
    seen: list[torch.Tensor] = []
    hook = trained.transformer.register_forward_pre_hook(lambda _module, inputs: seen.extend(inputs))
    tokens = torch.tensor([icons.token_ids(icons.words(text))])
    trained.predict(torch.zeros(1, 3, icons.SIZE, icons.SIZE), torch.tensor([500]), tokens)
    hook.remove()
    torch.testing.assert_close(context.float(), seen[2], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(extra["pooled_output"].float(), seen[3], rtol=1e-4, atol=1e-4)


def test_the_hosts_sampler_draws_what_the_plain_one_does(flux_model, trained):
    import comfy.sample
    import comfy.samplers

    timesteps = torch.linspace(sampling.TIMESTEPS - 1, 0, STEPS).round().long()
    sigmas = torch.cat([trained.process.noise_level[timesteps], torch.zeros(1)])
    positive, negative = flux_model.encode("dark inked star"), flux_model.encode("")
    empty = torch.zeros(ROWS, 3, icons.SIZE, icons.SIZE)

    noise = comfy.sample.prepare_noise(empty, 3)
    found = comfy.sample.sample_custom(
        flux_model.model, noise, CFG, comfy.samplers.sampler_object("euler"), sigmas, positive, negative, empty
    )
    tokens, nothing = (
        torch.tensor([icons.token_ids(caption)]).expand(ROWS, -1) for caption in (["dark", "inked", "star"], [])
    )
    expected = sampling.sample(trained.predict, trained.process, noise, tokens, nothing, STEPS, CFG)
    torch.testing.assert_close(found * LATENT_SCALE, expected, rtol=1e-3, atol=1e-3)
