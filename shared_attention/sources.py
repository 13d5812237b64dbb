"""Where the features of a reference come from: rows of the same model call, or a bank that another call has filled.

A reference never sees a target, so that what a layer computes for it does not depend on when it is computed. A call of
the references alone records what every layer has of them, and calls of targets read it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from .rows import Rows

T = TypeVar("T", bound=tuple[object, ...])
"""A named tuple of tensors (chunks, ...), of such tuples, or None: what a layer has of the references."""


class Source(Protocol):
    """Says which rows of a call are references and which are targets, and what the targets read."""

    rows: Rows

    def of(self, slot: Hashable, compute: Callable[[], T]) -> T:
        """What the layer `slot` has of the references, chunk by chunk; `compute` takes it from rows of this call."""
        ...


class RowsOfCall:
    """References and targets are rows of one call."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def of(self, slot: Hashable, compute: Callable[[], T]) -> T:
        return compute()


class Bank:
    """What references had in every layer of a model call, by the conditioning that their chunk was computed with."""

    def __init__(self) -> None:
        self._slots: dict[Hashable, _Kept] = {}

    def keep(self, slot: Hashable, conditionings: Sequence[Hashable], features: tuple[object, ...]) -> None:
        self._slots[slot] = _Kept(tuple(conditionings), features)

    def read(self, slot: Hashable, conditionings: Sequence[Hashable]) -> tuple[object, ...]:
        """Raises KeyError where no reference had the layer, or the conditioning."""
        kept = self._slots[slot]
        if kept.conditionings == tuple(conditionings):
            return kept.features
        return _chunks(kept.features, [kept.conditionings.index(each) for each in conditionings])

    @property
    def bytes(self) -> int:
        """How much memory the bank holds."""
        return sum(_bytes(kept.features) for kept in self._slots.values())


class _Kept(NamedTuple):
    conditionings: tuple[Hashable, ...]
    features: tuple[object, ...]


class Recording:
    """All rows are references, one a chunk: the bank keeps what they have."""

    def __init__(self, bank: Bank, conditionings: Sequence[Hashable]) -> None:
        self.rows = Rows(len(conditionings), 1)
        self._bank, self._conditionings = bank, conditionings

    def of(self, slot: Hashable, compute: Callable[[], T]) -> T:
        features = compute()
        self._bank.keep(slot, self._conditionings, features)
        return features


class Reading:
    """All rows are targets: they read what the bank has kept for their chunk's conditioning."""

    def __init__(self, bank: Bank, conditionings: Sequence[Hashable], images: int) -> None:
        self.rows = Rows(len(conditionings), images, None)
        self._bank, self._conditionings = bank, conditionings

    def of(self, slot: Hashable, compute: Callable[[], T]) -> T:
        return self._bank.read(slot, self._conditionings)  # type: ignore[return-value]


def _chunks(features: tuple[object, ...], picked: list[int]) -> tuple[object, ...]:
    kind: Callable[..., tuple[object, ...]] = type(features)
    return kind(*(_chunks_of(each, picked) for each in features))


def _chunks_of(each: object, picked: list[int]) -> object:
    if isinstance(each, Tensor):
        return each.narrow(0, picked[0], 1) if len(picked) == 1 else torch.cat([each[i : i + 1] for i in picked])
    return _chunks(each, picked) if isinstance(each, tuple) else each


def _bytes(features: tuple[object, ...]) -> int:
    return sum(
        each.nbytes if isinstance(each, Tensor) else _bytes(each) if isinstance(each, tuple) else 0 for each in features
    )
