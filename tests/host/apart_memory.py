"""What banks hold, noted while they are filled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from style_aligned.shared_attention.sources import Bank
from torch import Tensor


def noted_bytes(monkeypatch: pytest.MonkeyPatch) -> dict[Any, int]:
    """Fills up with the bytes of the keys and values of each conditioning, over all layers of the last bank."""
    found: dict[Any, int] = {}
    banks: list[Bank] = []
    keep = Bank.keep

    def noting(bank: Bank, slot: Any, conditionings: Sequence[Any], features: Any) -> None:
        keep(bank, slot, conditionings, features)
        kept = getattr(features, "features", features)
        if not hasattr(kept, "key"):
            return
        if bank not in banks:
            banks.append(bank)
            found.clear()
        for conditioning in conditionings:
            size = sum(each.nbytes for each in (kept.key, kept.value) if isinstance(each, Tensor))
            found[conditioning] = found.get(conditioning, 0) + size // len(conditionings)

    monkeypatch.setattr(Bank, "keep", noting)
    return found
