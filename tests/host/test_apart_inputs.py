"""What the node takes and refuses, and what is left of references apart after a run."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from apart_references import apart
from given_reference import picture
from oracles import relative_error
from sampling import sample, shared
from style_aligned.nodes.reference import StyleAlignedReference
from style_aligned.shared_attention.sources import Bank
from tiny_models import tiny_model
from torch import Tensor

OTHER_SIZE = (12, 6)


@pytest.mark.parametrize(("thin", "memory"), [("all", "half precision"), ("all", "half precision, on the CPU")])
def test_half_precision_is_near(thin: str, memory: str) -> None:
    model = shared(tiny_model("sd15"))
    kept = apart(model, picture(31, *OTHER_SIZE), thin=thin, memory=memory)
    assert relative_error(sample(kept, 1), sample(apart(model, picture(31, *OTHER_SIZE)), 1)) < 1e-3


@pytest.mark.parametrize(
    ("latent", "message"),
    [
        (torch.zeros(1, 4, 8, 8), "empty"),
        (torch.ones(2, 4, 8, 8), "2 images"),
        (torch.ones(1, 16, 8, 8), "16 latent channels"),
        (torch.full((1, 4, 8, 8), float("nan")), "no numbers"),
    ],
)
def test_bad_references_are_refused(latent: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StyleAlignedReference.execute(tiny_model("sd15"), {"samples": latent})


@pytest.mark.parametrize("weight", [-0.1, 4.1, float("nan")])
def test_bad_weights_are_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="weight is"):
        apart(tiny_model("sd15"), weight=weight)


def test_nothing_is_held_after_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    banks: list[Bank] = []
    monkeypatch.setattr(Bank, "__init__", noting_banks(banks, Bank.__init__))
    model = apart(shared(tiny_model("sd15")))
    before = str(model.model_options), set(vars(model.model.diffusion_model))
    sample(model, 1)
    assert banks
    assert before == (str(model.model_options), set(vars(model.model.diffusion_model)))
    assert all(reference() is None for reference in weakened(banks))


def test_nothing_is_held_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    banks: list[Bank] = []
    monkeypatch.setattr(Bank, "__init__", noting_banks(banks, Bank.__init__))
    model = apart(shared(tiny_model("sd15")))

    def failing(*_: Any) -> Tensor:
        raise RuntimeError("out of memory")

    broken = model.clone()
    broken.set_model_unet_function_wrapper(failing)
    with pytest.raises(RuntimeError, match="out of memory") as failure:
        sample(broken, 1)
    assert banks
    assert all(bank.nbytes == 0 for bank in banks)
    assert failure.tb is not None, "which holds the frames of the run"
    assert torch.equal(sample(model, 1), sample(apart(shared(tiny_model("sd15"))), 1))


def noting_banks(banks: list[Bank], init: Any) -> Any:
    def noting(bank: Bank, *args: Any) -> None:
        init(bank, *args)
        banks.append(bank)

    return noting


def weakened(banks: list[Bank]) -> list[Any]:
    references = [weakref.ref(bank) for bank in banks]
    banks.clear()
    gc.collect()
    return references
