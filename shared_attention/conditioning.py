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


def first_row(conditioning: Conditioning) -> Conditioning:
    """The conditioning of the first of several prompts; what each entry's rows share stays."""
    return [
        [embeddings[:1], {name: _first_row(option, len(embeddings)) for name, option in options.items()}]
        for embeddings, options in conditioning
    ]


def _first_row(option: Any, rows: int) -> Any:
    return option[:1] if isinstance(option, Tensor) and option.ndim > 0 and len(option) == rows else option


def batch_conditionings(conditionings: Sequence[Conditioning], names: Sequence[str] | None = None) -> Conditioning:
    """Combine the conditionings of several prompts into one whose rows are theirs, in order.

    `names` are what errors call the prompts; "prompt 1" and so on where there are none.
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
    names = names or [f"prompt {number}" for number in range(1, len(conditionings) + 1)]
    return [_batch_entries(entries, names) for entries in zip(*conditionings, strict=True)]


def _batch_entries(entries: Sequence[Entry], names: Sequence[str]) -> Entry:
    first, options = entries[0][0], dict(entries[0][1])
    for name, (embeddings, other) in zip(names[1:], entries[1:], strict=True):
        if embeddings.shape[2] != first.shape[2]:
            raise ValueError(
                f"The prompts cannot be combined: {names[0]} was encoded by another text encoder than {name} "
                f"({first.shape[2]} and {embeddings.shape[2]} channels). Encode both with the same model's CLIP."
            )
        different = _first_difference(options, other)
        if different is not None:
            raise ValueError(
                f"The prompts cannot be combined: {different!r} of {name} is not that of {names[0]}. "
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
