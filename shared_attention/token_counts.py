"""How prompts of unlike length share a batch: which of its rows are encoded side by side, and at how many tokens.

A tensor of embeddings has one number of tokens for all its rows. Repeating all tokens of a prompt is exact for
cross-attention, since the softmax's weights are shared out among the copies, so prompts fit side by side at a common
multiple of their lengths. That multiple can be many times the longest prompt (210 for lengths 1, 2, 3, 5 and 7). Then
the batch is encoded several times, each time at a multiple that suits some of its rows, and the model is called for
each. Targets read the reference in the model call they are in, so every one of the multiples is the reference's too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

CHUNK = 77
"""Tokens of the pieces into which the text encoders of Stable Diffusion's UNets cut a prompt."""
JOINT_CHANNELS = 4096
"""Channels of SD 3's text, whose encoders cut prompts likewise and whose transformer attends to text jointly."""

CALL = 16 * 77
"""A model call costs about as much as this many tokens more in another call. By its multiplications one costs as much
as 26 times 77 tokens (SDXL at 512 pixels), 80 times (SDXL at 1024) or 120 times (SD 1.5 at 512); small models, less."""


@dataclass(frozen=True)
class Encoding:
    """The `rows` of a batch that hold their prompt when all rows have `tokens` tokens; row 0 holds its own in each."""

    tokens: int
    rows: tuple[int, ...]


def tokens_repeat(shapes: Sequence[Sequence[int]]) -> bool:
    """Whether embeddings of `shapes` (rows, tokens, channels) are a UNet's, to be read by cross-attention alone."""
    return all(tokens % CHUNK == 0 and channels != JOINT_CHANNELS for _, tokens, channels in shapes)


def common_encodings(lengths: Sequence[int]) -> list[Encoding]:
    """Encodings that have each row of a batch once; `lengths` are the tokens of the rows' prompts.

    Two of them are made one while that costs less than the call it saves, the one that saves most first. So together
    they have no more tokens than one encoding a length would, and CALL for each call saved.
    """
    multiples = [math.lcm(lengths[0], length) for length in lengths]
    encodings = [
        Encoding(tokens, tuple(row for row, multiple in enumerate(multiples) if multiple == tokens))
        for tokens in sorted(set(multiples))
    ]
    while len(encodings) > 1:
        pair = max(combinations(encodings, 2), key=_saving)
        if _saving(pair) < 0:
            break
        encodings = [encoding for encoding in encodings if encoding not in pair] + [_joined(*pair)]
    return sorted(encodings, key=lambda encoding: encoding.rows)


def _saving(pair: tuple[Encoding, Encoding]) -> int:
    """How many tokens cheaper the pair is as one."""
    return sum(encoding.tokens for encoding in pair) + CALL - _joined(*pair).tokens


def _joined(first: Encoding, second: Encoding) -> Encoding:
    return Encoding(math.lcm(first.tokens, second.tokens), tuple(sorted(first.rows + second.rows)))
