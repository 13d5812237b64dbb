"""Conditionings of several prompts as one, a row for each image of a batch.

The host's CONDITIONING is a list of entries [embeddings (rows, tokens, channels), options]; it has several entries
where a prompt changes over the sampling process or carries hooks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Entry = list[Any]
Conditioning = list[Entry]

POOLED = "pooled_output"


def batch_conditionings(conditionings: Sequence[Conditioning]) -> Conditioning:
    """Combine the conditionings of several prompts into one whose rows are theirs, in order.

    Embeddings of different lengths are repeated to their least common multiple. That is exact for cross-attention: when
    every token occurs equally often, the softmax's weights are shared out among the copies and the output is the same.
    Raises ValueError where the conditionings' entries do not correspond one to one.
    """
    counts = [len(conditioning) for conditioning in conditionings]
    if len(set(counts)) > 1:
        raise ValueError(
            f"The prompts cannot be combined: they have {_listed(counts)} scheduled entries. "
            "Give every line the same schedule, or schedule none of them."
        )
    return [_batch_entries(entries) for entries in zip(*conditionings, strict=True)]


def _batch_entries(entries: Sequence[Entry]) -> Entry:
    options = dict(entries[0][1])
    for number, (_, other) in enumerate(entries[1:], start=2):
        different = _first_difference(options, other)
        if different is not None:
            raise ValueError(
                f"The prompts cannot be combined: {different!r} of prompt {number} is not that of the first. "
                "Schedules, hooks and areas have to be the same for every line."
            )
    embeddings = _cat_rows([entry[0] for entry in entries])
    if POOLED in options:
        options[POOLED] = _cat_pooled([entry[1].get(POOLED) for entry in entries])
    return [embeddings, options]


def _cat_rows(embeddings: Sequence[Tensor]) -> Tensor:
    length = math.lcm(*(embedding.shape[1] for embedding in embeddings))
    return torch.cat([embedding.repeat(1, length // embedding.shape[1], 1) for embedding in embeddings])


def _cat_pooled(pooled: Sequence[Tensor | None]) -> Tensor | None:
    """SD 1.x has no pooled output: None for every prompt."""
    rows = [row for row in pooled if row is not None]
    return torch.cat(rows) if len(rows) == len(pooled) else None


def _first_difference(first: dict[str, Any], other: dict[str, Any]) -> str | None:
    """The first option, the pooled output aside, that two entries do not share."""
    for name in sorted((first.keys() | other.keys()) - {POOLED}):
        if name not in first or name not in other or not _same(first[name], other[name]):
            return name
    return None


def _same(a: object, b: object) -> bool:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return isinstance(a, Tensor) and isinstance(b, Tensor) and torch.equal(a, b)
    return a is b or bool(a == b)


def _listed(counts: Sequence[int]) -> str:
    return ", ".join(map(str, counts[:-1])) + f" and {counts[-1]}"
