"""Other nodes' ways to call the model: tiles, windows, threads, and forward passes of their own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from oracles import relative_error
from sampling import noise, sample, shared
from tiny_models import conditioning, tiny_model
from torch import Tensor

OPTIONS = {"shift": 0.5, "share_group_norm": True}
WIDE = {"steps": 2, "initial": noise(3, 8, 16)}


def called_by(model, wrapper):
    clone = model.clone()
    clone.set_model_unet_function_wrapper(wrapper)
    return clone


def one_by_one(apply_model, arguments) -> Tensor:
    """Each half of the picture in a model call of its own."""
    halves = arguments["input"].chunk(2, dim=-1)
    return torch.cat([apply_model(half, arguments["timestep"], **arguments["c"]) for half in halves], dim=-1)


def stacked(apply_model, arguments) -> Tensor:
    """Both halves in one call, tile by tile, as tiled diffusion packs make it."""
    tiles = torch.cat(arguments["input"].chunk(2, dim=-1))
    c = dict(arguments["c"])
    for name, value in c.items():
        if isinstance(value, Tensor):
            c[name] = value.repeat(2, *[1] * (value.ndim - 1))
    return torch.cat(apply_model(tiles, arguments["timestep"].repeat(2), **c).chunk(2), dim=-1)


def interleaved(apply_model, arguments) -> Tensor:
    """The halves of each image beside each other in one call."""
    x = arguments["input"]
    tiles = torch.stack(x.chunk(2, dim=-1), dim=1).flatten(0, 1)
    c = {k: v.repeat_interleave(2, 0) if isinstance(v, Tensor) else v for k, v in arguments["c"].items()}
    out = apply_model(tiles, arguments["timestep"].repeat_interleave(2), **c)
    return torch.cat(out.unflatten(0, (len(x), 2)).unbind(1), dim=-1)


@pytest.mark.parametrize("cfg", [4.0, 1.0])
def test_each_tile_of_a_target_shares_with_the_same_tile_of_the_reference(model, cfg: float):
    together = sample(called_by(shared(model, **OPTIONS), stacked), cfg=cfg, **WIDE)
    assert relative_error(together, sample(called_by(shared(model, **OPTIONS), one_by_one), cfg=cfg, **WIDE)) < 1e-5
    plain = sample(called_by(model, stacked), cfg=cfg, **WIDE)
    assert relative_error(together[0], plain[0]) < 1e-6
    assert relative_error(together[1:], plain[1:]) > 1e-2


def test_tiles_that_cannot_be_told_are_not_shared_and_the_log_says_so(model, caplog: pytest.LogCaptureFixture):
    for prompts, wrapper in ((conditioning(3), interleaved), (conditioning(1), stacked)):
        caplog.clear()
        out = sample(called_by(shared(model, **OPTIONS), wrapper), positive=prompts, **WIDE)
        assert torch.equal(out, sample(called_by(model, wrapper), positive=prompts, **WIDE))
        assert caplog.text.count("12 rows, which are not 2 times the 3 images") == 1
        assert "forward pass" not in caplog.text


def test_tiles_of_one_image_are_the_hosts_without_a_word(model, caplog: pytest.LogCaptureFixture):
    alone = {"steps": 2, "images": 1, "initial": noise(1, 8, 16)}
    out = sample(called_by(shared(model, **OPTIONS), stacked), **alone)
    assert torch.equal(out, sample(called_by(model, stacked), **alone))
    assert "Style Aligned" not in caplog.text


def test_half_of_the_batch_in_a_call_is_not_taken_for_the_batch(model, caplog: pytest.LogCaptureFixture):
    """Divisible by the number of chunks, and yet without the reference."""

    def halves(apply_model, arguments):
        outs = []
        for picked in ([0, 1, 4, 5], [2, 3, 6, 7]):
            c = {k: v[picked] if isinstance(v, Tensor) else v for k, v in arguments["c"].items()}
            outs.append(apply_model(arguments["input"][picked], arguments["timestep"][picked], **c))
        first, second = outs
        return torch.cat([first[:2], second[:2], first[2:], second[2:]])

    out = sample(called_by(shared(model), halves), images=4, steps=1)
    assert torch.equal(out, sample(called_by(model, halves), images=4, steps=1))
    assert "4 rows, which are not 2 times the 4 images" in caplog.text


def in_windows(*windows: list[int]):
    """AnimateDiff-Evolved's way to sample a batch in windows: their images are in the call's options."""

    def wrapper(apply_model, arguments):
        x, chunks = arguments["input"], len(arguments["cond_or_uncond"])
        images, out = len(x) // chunks, torch.zeros_like(x)
        for window in windows:
            picked = [chunk * images + image for chunk in range(chunks) for image in window]
            c = {k: v[picked] if isinstance(v, Tensor) else v for k, v in arguments["c"].items()}
            params = {"sub_idxs": window, "full_length": images, "context_length": len(window)}
            c["transformer_options"] = {**c["transformer_options"], "ad_params": params}
            out[picked] = apply_model(x[picked], arguments["timestep"][picked], **c)
        return out

    return wrapper


def test_windows_of_animatediff_evolved(model):
    """A target shares in whichever window it meets the reference, wherever that stands in it; else it is unshared."""
    whole, plain = sample(shared(model), 5, steps=1), sample(model, 5, steps=1)
    windowed = sample(called_by(shared(model), in_windows([3, 4], [0, 1], [2, 0])), 5, steps=1)
    assert relative_error(windowed[:3], whole[:3]) < 1e-5
    assert relative_error(windowed[3:], plain[3:]) < 1e-5
    params = in_windows([0, 1, 2, 3, 4])
    assert relative_error(sample(called_by(shared(model), params), 5, steps=1), whole) < 1e-5


def test_calls_from_another_thread(model):
    def threaded(apply_model, arguments):
        def call():
            with torch.inference_mode():
                return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(call).result()

    assert torch.equal(sample(called_by(shared(model, **OPTIONS), threaded)), sample(shared(model, **OPTIONS)))


def test_a_model_that_is_called_outside_of_a_run_is_told_once(model, caplog: pytest.LogCaptureFixture):
    """As by a sampler that another node has written around the host's own."""
    sharing = shared(model)
    options = {"cond_or_uncond": [0], "wrappers": sharing.wrappers}
    context = conditioning(3)[0][0]
    calls = [
        patcher.model.apply_model(noise(3), torch.ones(3), c_crossattn=context, transformer_options=given)
        for patcher, given in ((model, {"cond_or_uncond": [0]}), (sharing, options), (sharing, options))
    ]
    assert torch.equal(calls[0], calls[1])
    assert torch.equal(calls[0], calls[2])
    assert caplog.text.count("outside of a sampling run") == 1


def of_its_own(apply_model, arguments) -> Tensor:
    """A forward pass that another node has written itself, as DeepCache has."""
    return arguments["input"] * 0.5


def test_a_replaced_forward_pass_is_told_at_the_end_of_the_run(model, caplog: pytest.LogCaptureFixture):
    replaced = called_by(shared(model), of_its_own)
    for _ in range(2):
        caplog.clear()
        sample(replaced)
        assert caplog.text.count("nothing was shared in this run") == 1
        assert "DeepCache" in caplog.text


@pytest.mark.parametrize(
    ("options", "images"), [({"strength": 0.0}, 3), ({"end_percent": 0.0}, 3), ({"start_percent": 1.0}, 3), ({}, 1)]
)
def test_where_nothing_was_to_be_shared_nothing_is_said(
    model, options: dict, images: int, caplog: pytest.LogCaptureFixture
):
    sample(called_by(shared(model, **options), of_its_own), images)
    sample(shared(model, **options), images)
    assert "Style Aligned" not in caplog.text


def test_a_forward_that_calls_no_replacements_is_told_too(model, caplog: pytest.LogCaptureFixture):
    clone = shared(model)

    def forward(executor, x, timesteps, context=None, *args, **kwargs):
        return x * 0.5

    clone.add_wrapper_with_key("diffusion_model", "another node", forward)
    sample(clone)
    assert caplog.text.count("nothing was shared in this run") == 1


def test_layers_without_projections_are_left_out_with_a_line(model, caplog: pytest.LogCaptureFixture):
    class Foreign(torch.nn.Module):
        def forward(self, x: Tensor, context=None, value=None, **_) -> Tensor:
            return 0.1 * x

    other = tiny_model("sd15")
    other.model.diffusion_model.middle_block[1].transformer_blocks[0].attn1 = Foreign()
    together, plain = sample(shared(other), steps=2), sample(other, steps=2)
    assert torch.equal(together[0], plain[0])
    assert relative_error(together[1:], plain[1:]) > 1e-3
    assert caplog.text.count("middle.0) has no projections") == 1
    assert "Foreign" in caplog.text
