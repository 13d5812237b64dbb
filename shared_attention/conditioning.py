"""Conditionings of several prompts as one, a row for each image of a batch.

The host's CONDITIONING is a list of entries [embeddings (rows, tokens, channels), options]; it has several entries
where a prompt changes over the sampling process or carries hooks, and here where the prompts' lengths have no common
multiple of moderate size (see token_counts). Such entries cover the batch's rows between them: each has a mask that is
one in its own rows and zero in the others, so that the host takes every row's prediction from exactly one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .conditioning_options import Options, common_options, different_tensors
from .lines import LINE, first_line, line_entries
from .token_counts import Encoding, common_encodings

Entry = list[Any]
Conditioning = list[Entry]

MADE = "style_aligned.rows"
"""The option that says how an entry's rows were made, of type Made."""


@dataclass(frozen=True)
class Made:
    """How an entry was made of several prompts' embeddings: what it takes to have the first one's back.

    tokens: of the first prompt, before they were repeated; covered: the rows whose predictions the host takes from the
    entry; added: the options that see to that, and shared: what all prompts had under their names.
    """

    tokens: int
    covered: tuple[int, ...]
    added: Options
    shared: Options


@dataclass(frozen=True, eq=False)
class Apart:
    """A model condition that has no part in the model's work: an entry with it gets a model call of its own.

    The host would else join entries of unlike length, and those of the negative, in a call at a common multiple of
    their lengths, which is what several entries avoid. rows: how many the entry's mask has.
    """

    rows: int

    def process_cond(self, batch_size: int, **_: Any) -> Apart:
        """Raises ValueError where the mask cannot be laid over a batch of that many images."""
        if batch_size > self.rows and batch_size % self.rows:
            raise ValueError(
                f"The batch has {batch_size} images, Style Aligned: Prompts {self.rows} rows. Connect its batch_size "
                "to the empty latent image, so that there is an image for each row."
            )
        return self

    def can_concat(self, other: object) -> bool:
        return other is self

    def concat(self, others: Sequence[object]) -> None:
        """What the model gets: nothing."""

    def size(self) -> list[int]:
        return [1]


def first_row(conditioning: Conditioning) -> Conditioning:
    """The conditioning of the first of several prompts as it was alone; what each entry's rows share stays."""
    return [_first_row_of(*entry) for entry in conditioning if _has_row_0(entry[1])]


def _has_row_0(options: Options) -> bool:
    if LINE in options:
        return bool(options[LINE].row == 0)
    return MADE not in options or 0 in options[MADE].covered


def _first_row_of(embeddings: Tensor, options: Options) -> Entry:
    if LINE in options:
        return [embeddings, first_line(options)]
    rows, made, row = len(embeddings), options.get(MADE), embeddings[:1]
    if made is None:
        return [row, {name: _first_of(option, rows) for name, option in options.items()}]
    ours = {name for name, option in made.added.items() if options.get(name) is option}
    kept = {name: option for name, option in options.items() if name not in ours | {MADE}}
    alone = row[:, : made.tokens]
    if not torch.equal(_repeated(alone, row.shape[1]), row):
        alone = row  # another node has changed the embeddings since
    return [alone, {name: _first_of(option, rows) for name, option in {**made.shared, **kept}.items()}]


def _first_of(option: Any, rows: int) -> Any:
    return option[:1] if isinstance(option, Tensor) and option.ndim > 0 and len(option) == rows else option


def batch_conditionings(
    conditionings: Sequence[Conditioning], names: Sequence[str] | None = None, tokens_repeat: bool = True
) -> Conditioning:
    """Combine the conditionings of several prompts into one whose rows are theirs, in order.

    names: what errors call the prompts; "prompt 1" and so on where there are none. tokens_repeat: whether the model
    attends to text by cross-attention alone, so that repeated tokens change nothing; elsewhere prompts of unlike length
    stay entries of their own (see lines). Raises ValueError where the conditionings' entries do not correspond.
    """
    names = names or [f"prompt {number}" for number in range(1, len(conditionings) + 1)]
    counts = [len(conditioning) for conditioning in conditionings]
    if len(set(counts)) > 1:
        raise ValueError(
            f"The prompts cannot be combined: they have {_listed(counts)} scheduled entries. "
            "Give every line the same schedule, or schedule none of them."
        )
    return [
        entry
        for entries in zip(*conditionings, strict=True)
        for entry in (_batch_entries if _fit_together(entries, tokens_repeat) else _line_entries)(entries, names)
    ]


def _fit_together(entries: Sequence[Entry], tokens_repeat: bool) -> bool:
    """Whether the prompts can be rows of one tensor."""
    lengths = {embeddings.shape[1] for embeddings, _ in entries}
    return (tokens_repeat or len(lengths) == 1) and not different_tensors([options for _, options in entries])


def _line_entries(entries: Sequence[Entry], names: Sequence[str]) -> list[Entry]:
    _require_one_encoder(entries, names)
    return line_entries(entries, names)


def _batch_entries(entries: Sequence[Entry], names: Sequence[str]) -> list[Entry]:
    _require_one_encoder(entries, names)
    rows = [embeddings for embeddings, _ in entries]
    options = common_options([options for _, options in entries], names)
    lengths = [row.shape[1] for row in rows]
    return [
        [
            torch.cat([_repeated(row, encoding.tokens) for row in rows]),
            options | _made(encoding, lengths, options),
        ]
        for encoding in common_encodings(lengths)
    ]


def _require_one_encoder(entries: Sequence[Entry], names: Sequence[str]) -> None:
    first = entries[0][0]
    for name, (embeddings, _) in zip(names[1:], entries[1:], strict=True):
        if embeddings.shape[2] != first.shape[2]:
            raise ValueError(
                f"The prompts cannot be combined: {names[0]} was encoded by another text encoder than {name} "
                f"({first.shape[2]} and {embeddings.shape[2]} channels). Encode both with the same model's CLIP."
            )


def _repeated(row: Tensor, tokens: int) -> Tensor:
    """All tokens of `row` (1, length, channels) as often as they fit in `tokens`: exact where `tokens` is a multiple.

    In the rows that an entry does not cover it may be none; their predictions are not taken from that entry.
    """
    return row.repeat(1, -(-tokens // row.shape[1]), 1)[:, :tokens]


def _made(encoding: Encoding, lengths: Sequence[int], options: Options) -> Options:
    """What an encoding adds to the `options` that all prompts have."""
    if len(encoding.rows) == len(lengths):
        return {MADE: Made(lengths[0], encoding.rows, {}, {})} if encoding.tokens != lengths[0] else {}
    covered = torch.zeros(len(lengths), 1, 1)
    covered[list(encoding.rows)] = 1.0
    added = {
        "mask": covered * options.get("mask", torch.ones(8, 8)),
        "model_conds": {**options.get("model_conds", {}), "style_aligned_apart": Apart(len(lengths))},
    }
    shared = {name: options[name] for name in added if name in options}
    return {MADE: Made(lengths[0], encoding.rows, added, shared), **added}


def _listed(counts: Sequence[int]) -> str:
    return ", ".join(map(str, counts[:-1])) + f" and {counts[-1]}"
