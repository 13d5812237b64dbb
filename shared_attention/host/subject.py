"""Where the subjects of a run's references are: what its layers find, for layers that keep them out of targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..masks import Grid
from ..subject_map import SubjectMap
from ..subject_words import WORDS, Words
from .calls import Run

KEY = "style_aligned.subject_words"
"""The option of an evaluation's calls: the Words of the prompt of its reference, if any are known."""

_POSITIVE = 0  # of the host's kinds of conditioning


def words_in(conds: Sequence[Sequence[Mapping[str, Any]] | None]) -> Words | None:
    """Those of the prompt of an evaluation's first image, from the host's conditionings by kind."""
    positive = conds[_POSITIVE] if conds else None
    return next((cond[WORDS] for cond in positive or () if WORDS in cond), None)


@dataclass(frozen=True, eq=False)
class Finding:
    """In a call with references: what finds their subject by the attention of their pictures to its words.

    subject: of these references. text: how many tokens the call's text has. places: the words' among them. chunks:
    those that are asked.
    """

    subject: SubjectMap
    text: int
    places: tuple[int, ...]
    chunks: list[int]

    def values(self, like: Tensor, start: int = 0) -> Tensor:
        """One at the words and zero elsewhere, in the shape of the values `like`; start: where the text's tokens do."""
        values = like.new_zeros(like.shape)
        values[..., [start + place for place in self.places], :] = 1.0
        return values

    def add(self, mass: Tensor, grid: Grid) -> None:
        """mass: on the words, (chunks, ..., tokens, channels) of the references' pictures."""
        asked = mass if len(self.chunks) == len(mass) else mass[self.chunks]
        tokens = asked.detach().float().mean(-1)
        self.subject.add(tokens.flatten(0, -2).mean(0), grid)


def finding(
    run: Run,
    subject: SubjectMap | None,
    words: Words | None,
    wanted: str,
    chunks: int,
    kinds: Sequence[int],
    text: int,
) -> Finding | None:
    """For a call with references in `chunks` chunks; None where nothing can be found, with a report where it should.

    wanted: the words that name the subject, all of the prompt's where none do. kinds: of the host's conditionings, of
    the chunks in turn. text: how many tokens the call's has, a multiple of the prompt's own.
    """
    asked = [chunk for chunk in range(chunks) if kinds[chunk % len(kinds)] == _POSITIVE]
    if subject is None or not asked:
        return None
    if words is None:
        run.report(
            "protect_content does nothing for a reference whose prompt's words are not known. Encode its prompt with "
            "Style Aligned: Prompts, and connect that to the sampler, or to the conditioning of Reference."
        )
        return None
    places = words.places(wanted)
    if not places:
        run.report(
            f"protect_content does nothing: the reference's prompt has none of the words {wanted!r}. Write words of "
            "its prompt in subject, or nothing for all of them."
        )
        return None
    if text % words.tokens:  # of repeated tokens each copy has as much as the first, which says where it is, too
        run.report("protect_content does nothing: this model reads its prompt otherwise than as it was encoded.")
        return None
    return Finding(subject, text, places, asked)
