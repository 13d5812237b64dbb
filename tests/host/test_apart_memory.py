"""The memory of references apart: estimated as it is, told to the host, and refused in time."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import pytest
import torch
from apart_memory import noted_bytes
from apart_references import apart
from given_reference import picture
from sampling import sample, shared
from style_aligned.shared_attention.host.apart.memory import bytes_kept, with_banks
from style_aligned.shared_attention.host.apart.references import Reference
from style_aligned.shared_attention.keeping import Keeping
from style_aligned.shared_attention.layers import LayerSelection
from tiny_models import tiny_model


@pytest.mark.parametrize("blocks", ["", "input, middle"])
@pytest.mark.parametrize("family", ["sd15", "sdxl", "sdxl_refiner"])
@pytest.mark.parametrize("size", [(8, 8), (10, 7)], ids=str)
def test_the_estimate_is_what_is_kept(
    family: str, blocks: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, found = tiny_model(family), noted_bytes(monkeypatch)
    sample(apart(shared(model, blocks=blocks), picture(31, *size)), 1, steps=1)
    estimated = bytes_kept(model, Reference(picture(31, *size)), LayerSelection.parse(blocks))
    assert list(found.values()) == [estimated, estimated]


@pytest.mark.parametrize(("thin", "least", "most"), [("1/4", 0.2, 0.3), ("1/9", 0.1, 0.2)])
def test_thinning_keeps_less(thin: str, least: float, most: float, monkeypatch: pytest.MonkeyPatch) -> None:
    model, found = shared(tiny_model("sd15")), noted_bytes(monkeypatch)
    sample(apart(model, picture(31, 12, 12)), 1, steps=1)
    whole = max(found.values())
    sample(apart(model, picture(31, 12, 12), thin=thin), 1, steps=1)
    assert least < max(found.values()) / whole < most


def test_half_precision_keeps_half(monkeypatch: pytest.MonkeyPatch) -> None:
    model, found = shared(tiny_model("sd15")), noted_bytes(monkeypatch)
    sample(apart(model), 1, steps=1)
    whole = max(found.values())
    sample(apart(model, memory="half precision"), 1, steps=1)
    assert max(found.values()) * 2 == whole


def test_the_host_loads_the_model_with_room_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    load = comfy.model_management.load_models_gpu

    def noting(*args: Any, **kwargs: Any) -> Any:
        asked.append(kwargs["memory_required"])
        return load(*args, **kwargs)

    monkeypatch.setattr(comfy.model_management, "load_models_gpu", noting)
    model = shared(tiny_model("sd15"))
    sample(model, 1, steps=1)
    sample(apart(model, picture(31, 24, 24)), 1, steps=1)
    plain, with_reference = asked
    kept = 2 * bytes_kept(tiny_model("sd15"), Reference(picture(31, 24, 24)), LayerSelection())
    assert with_reference - plain >= kept


def test_what_is_on_the_cpu_takes_none_of_the_gpus() -> None:
    model, on_cpu = tiny_model("sd15"), Reference(picture(31, 64, 64), keeping=Keeping(on_cpu=True))
    assert with_banks(model, [on_cpu], LayerSelection(), [1, 4, 8, 8]) == [1, 4, 8, 8]


def test_a_bank_that_cannot_fit_is_refused_before_anything_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    model = apart(shared(tiny_model("sd15")), picture(31, 64, 64))
    needed = bytes_kept(tiny_model("sd15"), Reference(picture(31, 64, 64)), LayerSelection())
    monkeypatch.setattr(comfy.model_management, "get_total_memory", lambda *_: needed * 0.25 / 0.9)
    with pytest.raises(ValueError, match="at most 32 x 32 in latent pixels"):
        sample(model, 1)


def test_a_view_is_never_kept() -> None:
    """It would hold all that it is a part of."""
    whole = torch.randn(1, 2, 12, 8)
    kept = Keeping().kept(whole[..., 4:8, :], None)
    assert kept.untyped_storage().nbytes() == kept.nbytes
    assert torch.equal(kept, whole[..., 4:8, :])
