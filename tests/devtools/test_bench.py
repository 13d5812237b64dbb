"""What the bench measures is what it says: references apart, what they hold, and the two ways to read them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from devtools.measuring.bench import SD15, with_sharing
from devtools.measuring.bench_apart import SDXL, Apart, Model, apart_variants, bank_bytes, merged_by_mass, models

SMALL = {**SD15, "model_channels": 32, "num_heads": 4, "context_dim": 64}
SIDE = 16


def small(device: str, rows_of: Tensor | None = None) -> Apart:
    """The calls of an SD 1.5 UNet of a tenth of the width, on some rows of fixed inputs."""
    import comfy.model_patcher
    import comfy.supported_models

    config = comfy.supported_models.SD15(dict(SMALL))
    config.set_inference_dtype(torch.float32, None)
    model = config.get_model({}, "", device).eval().to(device)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 100
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * fan_in**-0.5)
    patcher = with_sharing(comfy.model_patcher.ModelPatcher(model, torch.device(device), torch.device(device)), {}, 8)

    def inputs(rows: int) -> dict[str, Tensor]:
        latents = torch.randn(9, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(1)).to(device)
        x = latents[:rows] if rows_of is None else latents[rows_of]
        text = torch.ones(rows, 7, 64, device=device)
        return {"x": x, "t": torch.ones(rows, device=device), "c_crossattn": text}

    return Apart(patcher, inputs)


@pytest.fixture(autouse=True)
def _as_the_bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Without gradients, and with PyTorch's attention: the others ask how much memory the meta device has."""
    from comfy.ldm.modules import attention

    monkeypatch.setattr(attention, "optimized_attention", attention.attention_pytorch)
    monkeypatch.setattr(attention, "optimized_attention_masked", attention.attention_pytorch)
    with torch.inference_mode():
        yield


def test_targets_read_the_bank_as_they_read_the_row_of_a_batch():
    from style_aligned.shared_attention.host.calls import KEY, Run

    def in_a_batch() -> Tensor:
        calls = small("cpu", torch.tensor([0, 1, 2]))
        options = {"cond_or_uncond": [0], "wrappers": calls.patcher.wrappers, KEY: Run(3)}
        out: Tensor = calls.patcher.model.apply_model(**calls.inputs(3), transformer_options=options)
        return out

    bank = small("cpu", torch.tensor([0])).record()
    targets = small("cpu", torch.tensor([1, 2])).read(bank, 2)
    torch.testing.assert_close(targets, in_a_batch()[1:], rtol=1e-4, atol=1e-5)
    thin = small("cpu", torch.tensor([1, 2])).read(small("cpu", torch.tensor([0])).record("1/4"), 2)
    assert (thin - targets).abs().max() > 1e-4


@pytest.mark.thorough
def test_the_variants_cost_less_the_fewer_tokens_there_are():
    whole, fourth, ninth, alone = (variant.flops for variant in apart_variants(small("meta"), small("meta"), targets=2))
    assert whole > fourth > ninth > 0
    assert whole > alone


def test_a_bank_of_shapes_alone_is_as_large_as_one_of_numbers():
    model = Model("SD15", SMALL, (4, SIDE, SIDE), {"c_crossattn": (7, 64)})
    counted = bank_bytes(model, torch.float32)
    assert counted == {thin: small("cpu").record(thin).nbytes for thin in counted}
    assert counted["all"] > 3 * counted["1/4"] > 3 * counted["1/9"]


def test_a_bank_of_sd15_holds_its_keys_and_values():
    """Of 64 x 64 to 8 x 8 tokens, and statistics, which are small."""
    tokens_and_channels = 5 * 4096 * 320 + 5 * 1024 * 640 + 5 * 256 * 1280 + 64 * 1280
    found = bank_bytes(models(SD15)["SD 1.5, 512 x 512"])["all"]
    assert 1 <= found / (tokens_and_channels * 2 * 2) < 1.02
    assert SDXL["context_dim"] == 2048


@pytest.mark.parametrize("tokens", [30, 7])
def test_two_attentions_merged_are_one(tokens: int):
    from comfy.ldm.modules.attention import attention_pytorch
    from style_aligned.shared_attention.attending import Extension, Projections
    from style_aligned.shared_attention.host.backend import HostAttention
    from style_aligned.shared_attention.host.calls import Run
    from style_aligned.shared_attention.sharing import share

    def compute(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        return attention_pytorch(q, k, v, 2, mask=mask, skip_reshape=True, skip_output_reshape=True)

    def random(*shape: int) -> Any:
        return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))

    query, key, value = random(3, 1, 3, 2, 30, 8)
    given_key, given_value = random(2, 1, 1, 2, tokens, 8)
    attend = partial(share, attend=HostAttention(compute, True, Run(3)), scale=1.0)
    expected = attend(Projections(query, key, value), [Extension(given_key, given_value, 0.4)])
    found = merged_by_mass(query[0], (key[0], value[0]), (given_key[0], given_value[0]), 0.4)
    torch.testing.assert_close(found, expected[0], rtol=1e-4, atol=1e-5)
