"""A given reference where the host samples a batch in windows: it is in one of them only."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import comfy.context_windows
import pytest
import torch
from given_reference import ksampler, with_reference
from pictured_models import controlled, grounded, inpainting, pictured_model
from style_aligned.shared_attention.host.row.run import start_run
from style_aligned.shared_attention.rows import Rows
from tiny_models import conditioning, smooth_model
from torch import Tensor

IMAGES = 4


def picture() -> Tensor:
    return torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(11))


def in_windows(patched: Any) -> Any:
    patched = patched.clone()
    patched.model_options["context_handler"] = comfy.context_windows.IndexListContextHandler(
        comfy.context_windows.get_matching_context_schedule("standard_static"),
        comfy.context_windows.get_matching_fuse_method("pyramid"),
        context_length=2,
        context_overlap=0,
        dim=0,
    )
    return patched


def denoised(patched: Any, latent: dict, conditions: tuple[list, list]) -> list[Tensor]:
    """What the model makes of each chunk of each call."""
    chunks: list[Tensor] = []
    watched = patched.clone()

    def wrapper(apply_model, arguments):
        out = apply_model(arguments["input"], arguments["timestep"], **arguments["c"])
        chunks.extend(part.clone() for part in out.chunk(len(arguments["cond_or_uncond"])))
        return out

    watched.set_model_unet_function_wrapper(wrapper)
    ksampler(watched, latent, positive=conditions[0], negative=conditions[1], steps=1)
    return chunks


def prompts() -> tuple[list, list]:
    return conditioning(1), conditioning(1, seed=2)


def boxes() -> tuple[list, list]:
    return grounded(prompts()[0]), prompts()[1]


@pytest.mark.parametrize("steered", [lambda: controlled(prompts()), boxes], ids=["ControlNet", "GLIGEN"])
def test_only_the_references_row_is_let_alone(steered: Callable[[], tuple[list, list]]):
    """Row 0 of the second window is a target: it gets what the host gives it."""
    model = pictured_model("sd15")
    patched, latent = with_reference(model, picture(), targets=IMAGES - 1)
    calls = denoised(in_windows(patched), latent, steered())
    free = denoised(in_windows(patched), latent, prompts())
    host = denoised(in_windows(model), latent, steered())
    assert len(calls) == len(free) == len(host) == 4
    for mine in calls[:2]:  # GLIGEN splits calls, so that cond and uncond may come in another order
        assert any(torch.allclose(mine[:1], other[:1], rtol=1e-4, atol=1e-5) for other in free[:2])
    for mine, theirs in zip(calls[2:], host[2:], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_a_masked_picture():
    model = pictured_model("sd15_inpainting")
    patched, latent = with_reference(model, picture(), targets=IMAGES - 1)
    positive, negative, _ = inpainting(prompts(), 4, IMAGES)
    seen: list[Tensor] = []
    watched = in_windows(patched)

    def wrapper(apply_model, arguments):
        seen.extend(arguments["c"]["c_concat"][:, :1].chunk(len(arguments["cond_or_uncond"])))
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    watched.set_model_unet_function_wrapper(wrapper)
    ksampler(watched, latent, positive=positive, negative=negative, steps=1)
    is_masked = [[bool(row.any()) for row in chunk] for chunk in seen]
    assert is_masked[:2] == [[False, True]] * 2
    assert len(is_masked) == 4
    assert all(all(chunk) for chunk in is_masked[2:])


@pytest.mark.parametrize(
    ("count", "options", "rows"),
    [
        (6, {"cond_or_uncond": [1, 0]}, Rows(2, 3)),
        (3, {"cond_or_uncond": [0]}, Rows(1, 3)),
        (4, {"cond_or_uncond": [1, 0]}, None),
        (3, {}, None),
        (4, {"cond_or_uncond": [1, 0], "window": [0, 1]}, Rows(2, 2)),
        (4, {"cond_or_uncond": [1, 0], "window": [2, 0]}, Rows(2, 2, 1)),
        (2, {"cond_or_uncond": [1, 0], "window": [0]}, Rows(2, 1)),
        (4, {"cond_or_uncond": [1, 0], "window": [1, 2]}, None),
    ],
)
def test_the_rows_of_a_call(count: int, options: dict[str, Any], rows: Rows | None):
    run = start_run(smooth_model(), picture(), 3, None, 0)
    if "window" in options:
        options = {**options, "context_window": SimpleNamespace(dim=0, index_list=options["window"])}
    assert run.rows(count, options) == rows
