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

    def knows(self, slot: Hashable) -> bool:
        """Whether there are features of the references for the layer `slot`."""
        ...

    def of(self, slot: Hashable, compute: Callable[[], T]) -> T:
        """What the layer `slot` has of the references, chunk by chunk; `compute` takes it from rows of this call."""
        ...


class RowsOfCall:
    """References and targets are rows of one call."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def knows(self, slot: Hashable) -> bool:
        return True

    def of(self, slot: Hashable, compute: Callable[[], T]) -> T:
        return compute()


class _Kept(NamedTuple):
    conditionings: tuple[Hashable, ...]
    features: tuple[object, ...]


class Bank:
    """What references had in every layer, by the conditioning that their chunk was computed with."""

    def __init__(self) -> None:
        self._slots: dict[Hashable, list[_Kept]] = {}

    def keep(self, slot: Hashable, conditionings: Sequence[Hashable], features: tuple[object, ...]) -> None:
        """features: a named tuple of tensors (chunks, ...), a chunk for each of `conditionings`."""
        self._slots.setdefault(slot, []).append(_Kept(tuple(conditionings), features))

    def has(self, slot: Hashable, conditionings: Sequence[Hashable]) -> bool:
        known = {each for kept in self._slots.get(slot, ()) for each in kept.conditionings}
        return known.issuperset(conditionings)

    def read(self, slot: Hashable, conditionings: Sequence[Hashable]) -> tuple[object, ...]:
        """The features with a chunk for each of `conditionings`. Raises KeyError where the bank has none of one."""
        kept = self._slots[slot]
        for each in kept:
            if each.conditionings == tuple(conditionings):
                return each.features
        chunks = {
            conditioning: _chunk(each.features, number)
            for each in kept
            for number, conditioning in enumerate(each.conditionings)
        }
        return _joined([chunks[conditioning] for conditioning in conditionings])

    @property
    def nbytes(self) -> int:
        """How much memory the bank holds."""
        return sum(_nbytes(each.features) for kept in self._slots.values() for each in kept)


class Recording:
    """All rows are references, one a chunk: the bank keeps what they have."""

    def __init__(self, bank: Bank, conditionings: Sequence[Hashable]) -> None:
        self.rows = Rows(len(conditionings), 1)
        self._bank, self._conditionings = bank, conditionings

    def knows(self, slot: Hashable) -> bool:
        return True

    def of(self, slot: Hashable, compute: Callable[[], T]) -> T:
        features = compute()
        self._bank.keep(slot, self._conditionings, features)
        return features


class Reading:
    """All rows are targets: they read what the bank has kept for their chunk's conditioning."""

    def __init__(self, bank: Bank, conditionings: Sequence[Hashable], images: int) -> None:
        self.rows = Rows(len(conditionings), images, None)
        self._bank, self._conditionings = bank, conditionings

    def knows(self, slot: Hashable) -> bool:
        return self._bank.has(slot, self._conditionings)

    def of(self, slot: Hashable, compute: Callable[[], T]) -> T:
        return self._bank.read(slot, self._conditionings)  # type: ignore[return-value]


def _chunk(features: tuple[object, ...], number: int) -> tuple[object, ...]:
    """One chunk of features, as views."""

    def pick(each: object) -> object:
        if isinstance(each, Tensor):
            return each.narrow(0, number, 1)
        return _chunk(each, number) if isinstance(each, tuple) else each

    kind: Callable[..., tuple[object, ...]] = type(features)
    return kind(*map(pick, features))


def _joined(chunks: Sequence[tuple[object, ...]]) -> tuple[object, ...]:
    """Features of several chunks as one."""
    if len(chunks) == 1:
        return chunks[0]

    def join(*each: object) -> object:
        first = each[0]
        if isinstance(first, Tensor):
            return torch.cat([tensor for tensor in each if isinstance(tensor, Tensor)])
        return _joined([part for part in each if isinstance(part, tuple)]) if isinstance(first, tuple) else first

    kind: Callable[..., tuple[object, ...]] = type(chunks[0])
    return kind(*map(join, *chunks))


def _nbytes(features: tuple[object, ...]) -> int:
    return sum(
        each.nbytes if isinstance(each, Tensor) else _nbytes(each) if isinstance(each, tuple) else 0
        for each in features
    )
