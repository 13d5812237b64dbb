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

from .conditioning_options import common_options

Entry = list[Any]
Conditioning = list[Entry]


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
    rows = [embeddings for embeddings, _ in entries]
    for name, row in zip(names[1:], rows[1:], strict=True):
        if row.shape[2] != rows[0].shape[2]:
            raise ValueError(
                f"The prompts cannot be combined: {names[0]} was encoded by another text encoder than {name} "
                f"({rows[0].shape[2]} and {row.shape[2]} channels). Encode both with the same model's CLIP."
            )
    return [_cat_rows(rows), common_options([options for _, options in entries], names)]


def _cat_rows(embeddings: Sequence[Tensor]) -> Tensor:
    length = math.lcm(*(embedding.shape[1] for embedding in embeddings))
    return torch.cat([embedding.repeat(1, length // embedding.shape[1], 1) for embedding in embeddings])


def _listed(counts: Sequence[int]) -> str:
    return ", ".join(map(str, counts[:-1])) + f" and {counts[-1]}"
