"""Where the features of references come from: rows of the same model call, or banks that other calls have filled.

A reference never sees a target, so that what a layer computes for it does not depend on when it is computed. A call of
a reference alone records what every layer has of it, and calls of targets read it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from .keeping import Keeping
from .masks import Mask
from .rows import Rows
from .subject_map import SubjectMap

T = TypeVar("T", bound=tuple[object, ...])
"""A named tuple of tensors (chunks, ...), of such tuples, or None: what a layer has of a reference."""


@dataclass(frozen=True)
class Weighted(Generic[T]):
    """What a layer has of one reference, and how much that counts: the weight multiplies its mass in the softmax."""

    features: T
    weight: float = 1.0


class Source(Protocol):
    """Says which rows of a call are references and which are targets, and what the targets read."""

    rows: Rows
    keeping: Keeping | None
    """How the features of the call's references are kept for other calls; None where they are not."""
    style_mask: Mask | None
    """The part of the call's references that gives its style; None where all of it does."""
    subject: SubjectMap | None
    """Where the subject of the call's references is; None where nobody asks."""

    def knows(self, slot: Hashable) -> bool:
        """Whether there are features of references for the layer `slot`."""
        ...

    def of(self, slot: Hashable, compute: Callable[[], T]) -> list[Weighted[T]]:
        """What the layer `slot` has of each reference; `compute` takes it from rows of this call."""
        ...


class RowsOfCall:
    """A reference and its targets are rows of one call."""

    keeping: Keeping | None = None

    def __init__(self, rows: Rows, style_mask: Mask | None = None, subject: SubjectMap | None = None) -> None:
        self.rows = rows
        self.style_mask = style_mask
        self.subject = subject

    def knows(self, slot: Hashable) -> bool:
        return True

    def of(self, slot: Hashable, compute: Callable[[], T]) -> list[Weighted[T]]:
        return [Weighted(compute())]


class _Kept(NamedTuple):
    conditionings: tuple[Hashable, ...]
    features: tuple[object, ...]


class Bank:
    """What a reference had in every layer, by the conditioning that its chunk was computed with."""

    def __init__(
        self, keeping: Keeping | None = None, style_mask: Mask | None = None, subject: SubjectMap | None = None
    ) -> None:
        self.keeping = keeping or Keeping()
        self.style_mask = style_mask
        self.subject = subject
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

    def clear(self) -> None:
        """Hold nothing any more, whoever still holds the bank."""
        self._slots.clear()

    @property
    def nbytes(self) -> int:
        """How much memory the bank holds; what layers have in common counts once."""
        every = (each.features for kept in self._slots.values() for each in kept)
        storages = (tensor.untyped_storage() for features in every for tensor in _tensors(features))
        # By the storage itself: those of the meta device, which has shapes alone, are all at address 0.
        return sum({storage._cdata: storage.nbytes() for storage in storages}.values())


class Recording:
    """All rows are the reference, one a chunk: the bank keeps what they have."""

    def __init__(
        self,
        bank: Bank,
        conditionings: Sequence[Hashable],
        style_mask: Mask | None = None,
        subject: SubjectMap | None = None,
    ) -> None:
        self.rows = Rows(len(conditionings), 1)
        self.keeping: Keeping | None = bank.keeping
        self.style_mask = style_mask
        self.subject = subject
        self._bank, self._conditionings = bank, conditionings

    def knows(self, slot: Hashable) -> bool:
        return True

    def of(self, slot: Hashable, compute: Callable[[], T]) -> list[Weighted[T]]:
        features = compute()
        self._bank.keep(slot, self._conditionings, features)
        return [Weighted(features)]


class BankOfChunks(NamedTuple):
    """A bank as the chunks of a call read it: the conditioning of the reference for each of them."""

    bank: Bank
    conditionings: tuple[Hashable, ...]
    weight: float = 1.0


class Reading:
    """Targets read what banks have kept for their chunk's conditioning, beside the reference in their own call if any.

    banks: those with features for a layer count there. beside: the source of the call's own rows.
    """

    keeping: Keeping | None = None

    def __init__(self, banks: Sequence[BankOfChunks], rows: Rows, beside: Source | None = None) -> None:
        self.rows = rows
        self.style_mask = beside.style_mask if beside is not None else None
        self.subject = beside.subject if beside is not None else None
        self._banks, self._beside = banks, beside

    def knows(self, slot: Hashable) -> bool:
        return any(self._known(slot)) or (self._beside is not None and self._beside.knows(slot))

    def of(self, slot: Hashable, compute: Callable[[], T]) -> list[Weighted[T]]:
        own = self._beside.of(slot, compute) if self._beside is not None and self._beside.knows(slot) else []
        kept = [Weighted(each.bank.read(slot, each.conditionings), each.weight) for each in self._known(slot)]
        return own + kept  # type: ignore[operator]

    def _known(self, slot: Hashable) -> Iterator[BankOfChunks]:
        return (each for each in self._banks if each.bank.has(slot, each.conditionings))


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


def _tensors(features: tuple[object, ...]) -> Iterator[Tensor]:
    for each in features:
        if isinstance(each, Tensor):
            yield each
        elif isinstance(each, tuple):
            yield from _tensors(each)
