"""Which tokens of a prompt's embeddings are the words of its subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WORDS = "style_aligned.words"
"""The option of an entry of a conditioning that says where the words of its first row's prompt are, of type Words."""

_PIECE = 77
"""Tokens that CLIP's embeddings have in front of T5's, where a model has both in one sequence."""


@dataclass(frozen=True, eq=False)
class Words:
    """of: by each word of the subject, in lower case, its places among `tokens` embeddings of the prompt."""

    of: Mapping[str, tuple[int, ...]]
    tokens: int

    def places(self, subject: str = "") -> tuple[int, ...]:
        """Of the subject's words, all of them where none are named; those that the prompt does not have left out."""
        asked = _split(subject) or list(self.of)
        return tuple(sorted({place for word in asked for place in self.of.get(word, ())}))


def without_words(conditioning: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """A conditioning that does not say where its words are."""
    return [
        [embeddings, {name: option for name, option in options.items() if name != WORDS}]
        for embeddings, options in conditioning
    ]


def find_words(clip: Any, text: str, subject: str, embeddings: int) -> Words | None:
    """The words of `subject` in `text`, as the host's `clip` cuts it into tokens; None where nobody can tell.

    embeddings: how many tokens the text's embeddings have: more encoders may have cut it, of which one, or CLIP in
    front of T5, is what the model reads; some leave off what stands before the prompt.
    """
    places = _places(clip.tokenize(text), embeddings)
    if places is None:
        return None
    empty = clip.tokenize("")
    found = {word: _find(clip, word, places, empty) for word in _split(subject)}
    return Words({word: at for word, at in found.items() if at}, embeddings)


def _split(text: str) -> list[str]:
    words = (word.strip("()[]{}<>,.;:!?\"'") for word in text.lower().split())
    return [word for word in dict.fromkeys(words) if word]


_Places = Mapping[str, tuple[Sequence[Any], int]]
"""By the name of an encoder its tokens, and the place of the first of them among the embeddings."""


def _places(tokens: Mapping[str, Any], embeddings: int) -> _Places | None:
    every = {name: _ids(batches) for name, batches in tokens.items()}
    fitting = {name: (ids, 0) for name, ids in every.items() if len(ids) == embeddings}
    if fitting:
        return fitting
    for name, ids in every.items():
        if name.startswith("t5") and embeddings == _PIECE + len(ids) and "l" in every:
            return {"l": (every["l"], 0), name: (ids, _PIECE)}
    if len(every) == 1:
        [(name, ids)] = every.items()
        if len(ids) > embeddings:
            return {name: (ids, embeddings - len(ids))}
    return None


def _find(clip: Any, word: str, places: _Places, empty: Mapping[str, Any]) -> tuple[int, ...]:
    """Where a word is. Within a text it may be cut otherwise than alone, as with a space before it."""
    found: set[int] = set()
    for form in (word, f" {word}", word.capitalize()):
        cut = clip.tokenize(form)
        for name, (ids, first) in places.items():
            own = _without_frame(_ids(cut[name]), _ids(empty[name]))
            found |= {place + first for place in _runs(own, ids) if place + first >= 0}
        if found:
            break
    return tuple(sorted(found))


def _ids(batches: Sequence[Sequence[Any]]) -> list[Any]:
    return [token[0] if isinstance(token[0], int) else id(token[0]) for batch in batches for token in batch]


def _without_frame(ids: Sequence[Any], empty: Sequence[Any]) -> list[Any]:
    """The tokens between what every text begins and ends with."""
    start = next((place for place, pair in enumerate(zip(ids, empty, strict=False)) if pair[0] != pair[1]), len(ids))
    own = list(ids[start:])
    ends = set(empty[start:])
    while own and own[-1] in ends:
        own.pop()
    return own


def _runs(own: Sequence[Any], ids: Sequence[Any]) -> list[int]:
    """The places of `ids` at which `own` stands, as often as it does."""
    starts = [start for start in range(len(ids) - len(own) + 1) if own and list(ids[start : start + len(own)]) == own]
    return [start + step for start in starts for step in range(len(own))]
