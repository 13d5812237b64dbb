"""`dev.py bench --sdxl` on a miniature and the processor: what it measures is sharing, and its floors are counted."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch

from devtools.measuring import bench
from devtools.measuring.bench_apart import SDXL, Model, randomise
from devtools.measuring.bench_sdxl import (
    APART,
    DTYPES,
    IN_A_BATCH,
    MODEL,
    Row,
    backends,
    calls_by_name,
    fits,
    floors_of,
    rows,
    table,
)
from devtools.measuring.timing import Measured

CPU = torch.device("cpu")
SMALL = {**SDXL, "model_channels": 64, "context_dim": 32, "num_res_blocks": [1, 1], "channel_mult": [1, 2]}
SMALL |= {"transformer_depth": [0, 2], "transformer_depth_middle": 2, "transformer_depth_output": [0, 0, 2, 2]}
MINIATURE = Model("SDXL", SMALL, (4, 16, 16), {"c_crossattn": (7, 32), "y": (2816,)})
IMAGES = 3


@pytest.fixture(scope="module")
def miniature():
    return randomise(MINIATURE.on(CPU, torch.float32), CPU)


@pytest.fixture(scope="module")
def floors():
    with torch.inference_mode():
        return floors_of(MINIATURE, IMAGES, torch.float16)


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def test_without_a_gpu_one_line_says_so(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert bench.main(["--sdxl"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "GPU" in said.err


def test_one_image_alone_is_refused(capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit):
        bench.main(["--sdxl", "--images", "1"])
    assert "two images" in capsys.readouterr().err


def test_the_model_is_sdxl():
    """2.57 billion weights, as the published one has, and the text and size embeddings that it takes."""
    model = MODEL.on(torch.device("meta"), torch.float16).model.diffusion_model
    assert sum(parameter.numel() for parameter in model.parameters()) == pytest.approx(2.567e9, rel=1e-3)
    assert MODEL.latent == (4, 128, 128)


def test_what_is_measured_shares(miniature):
    """The reference's rows stay the plain model's; targets change, and apart they are what they are in the batch."""
    calls = calls_by_name(miniature, MINIATURE.inputs(2 * IMAGES, CPU, torch.float32), IMAGES)
    plain = calls["plain"]()
    for name in list(IN_A_BATCH)[1:]:
        found = calls[name]()
        for chunk in range(2):
            torch.testing.assert_close(found[chunk * IMAGES], plain[chunk * IMAGES], rtol=1e-4, atol=1e-5)
            assert (found[chunk * IMAGES + 1] - plain[chunk * IMAGES + 1]).abs().max() > 1e-3
    outputs = [calls[name]() for name in IN_A_BATCH]
    assert all((one - other).abs().max() > 1e-4 for one, other in pairwise(outputs))
    assert calls[APART]().shape == (2 * (IMAGES - 1), 4, 16, 16)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_in_half_precision(dtype: torch.dtype):
    patcher = randomise(MINIATURE.on(CPU, dtype), CPU)
    for call in calls_by_name(patcher, MINIATURE.inputs(2 * IMAGES, CPU, dtype), IMAGES).values():
        assert call().isfinite().all()


def test_the_floors(floors):
    """Sharing takes more operations, a shift and group norms none more; apart they are those of the batch."""
    assert list(floors) == [*IN_A_BATCH, APART]
    plain, shared, shift, norm = (floors[name].flops for name in IN_A_BATCH)
    assert plain < shared
    assert shift == norm == shared
    assert floors[APART].flops == pytest.approx(shared, rel=0.02)
    assert [floors[name].held for name in IN_A_BATCH] == [0, 0, 0, 0]
    keys = 8 * 8 * 128 * 8  # tokens, channels, layers
    assert floors[APART].held / (2 * 2 * keys * 2) == pytest.approx(1, abs=0.07)  # and values, in two chunks of float16


@pytest.mark.parametrize("name", ["pytorch", "split", "sub_quad"])
def test_a_table_of_each_backend(miniature, floors, name: str):
    from comfy.ldm.modules import attention

    before, backend, used = attention.optimized_attention, backends()[name], []

    def noted(*args, **kwargs):
        used.append(kwargs.get("mask") is not None)
        return backend(*args, **kwargs)

    noted.__name__ = backend.__name__
    found = rows(MINIATURE, miniature, IMAGES, noted, 1, floors)
    assert attention.optimized_attention is before
    assert True in used  # a shift is a mask where the backend takes one
    assert False in used
    lines = table(found).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == [f"| {name}" for name in (*IN_A_BATCH, APART)]
    assert {line.count("|") for line in lines} == {9}
    assert " | 1.000 | 1.000 | 1.000 | " in lines[2]


def test_what_does_not_fit_is_a_line_of_the_table():
    plain = Measured("plain", lambda: None, 100, [2.0], 5_000_000)
    shared = Measured("shared", lambda: None, 150, [4.0], 8_000_000)
    text = table([Row("plain", plain, 0), Row("shared", shared, 0), Row("apart", None, 0)])
    assert "| shared | 4 | 2.000 | 1.500 | 1.333 | 8 | +3 | 0 |" in text
    assert "| apart | out of memory |" in text
    assert "does not fit" in table([Row("plain", None, 0)])


def test_a_lack_of_memory_is_told_from_other_errors():
    def too_large():
        raise torch.OutOfMemoryError

    def broken():
        raise RuntimeError("another one")

    assert not fits(too_large)
    with pytest.raises(RuntimeError, match="another one"):
        fits(broken)
