"""Where sharing is on: a selection of a model's attention layers by section and number."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import groupby

LayerKey = tuple[str, int]
"""A section of the model and a number within it, such as ("input", 4) or ("double", 18)."""

ALL = "all"
SECTIONS = ("input", "middle", "output", "double", "single")
"""What the parts of models are called: those of UNets, and the blocks of transformers with two streams and with one."""
_TOKEN = re.compile(r"(?P<section>[a-z_]+)(?:\.(?P<first>\d+)(?:-(?P<last>\d+))?)?")


@dataclass(frozen=True)
class LayerRange:
    """One word of a selection; `numbers` None is the whole section, `section` "all" every layer."""

    text: str
    section: str
    numbers: range | None

    def __contains__(self, layer: LayerKey) -> bool:
        section, number = layer
        return self.section == ALL or (section == self.section and (self.numbers is None or number in self.numbers))


@dataclass(frozen=True)
class LayerSelection:
    """Layers such as `double.0-18, single`; an empty selection leaves the choice to the model's family."""

    ranges: tuple[LayerRange, ...] = ()

    @classmethod
    def parse(cls, text: str) -> LayerSelection:
        """Read a list such as `input.4-8, middle, output.0-5`; `all` selects every layer.

        A section without numbers is the whole section. Raises ValueError naming the word that cannot be read.
        """
        words = [word for word in re.split(r"[,;\s]+", text.strip().lower()) if word]
        return cls(tuple(map(_parse_word, words)))

    def or_default(self, text: str) -> LayerSelection:
        """This selection, or that of a family's `text` where this one is empty."""
        return self if self.ranges else LayerSelection.parse(text or ALL)

    @property
    def is_all(self) -> bool:
        return any(each.section == ALL for each in self.ranges)

    def __contains__(self, layer: LayerKey) -> bool:
        return any(layer in each for each in self.ranges)

    def require_in(self, layers: Collection[LayerKey]) -> None:
        """Raises ValueError naming the words that select none of the model's `layers`, and what there is."""
        missing = [repr(each.text) for each in self.ranges if not any(layer in each for layer in layers)]
        if missing:
            names = " and ".join(filter(None, [", ".join(missing[:-1]), missing[-1]]))
            raise ValueError(
                f"blocks: {names} {'names' if len(missing) == 1 else 'name'} nothing that can share in this model. "
                f"It has {', '.join(describe(layers))}; write {ALL} for every one of them."
            )


def describe(layers: Collection[LayerKey]) -> Iterator[str]:
    """The layers as `blocks` names them, neighbours as ranges: input.4-5, input.7-8, middle.0."""
    sections = dict.fromkeys(section for section, _ in layers)
    for section in sections:
        numbers = sorted(number for name, number in layers if name == section)
        for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
            first, *others = (number for _, number in run)
            yield f"{section}.{first}-{others[-1]}" if others else f"{section}.{first}"


def _parse_word(word: str) -> LayerRange:
    match = _TOKEN.fullmatch(word)
    is_all = match is not None and match["section"] == ALL and match["first"] is None
    if match is None or not (is_all or match["section"] in SECTIONS):
        raise ValueError(
            f"blocks: {word!r} is not a block. Write a section of the model, with a number or a range where wanted, "
            "such as input.4-8, middle, output.0-5 or double.0-18, single. Write all for every block, or leave blocks "
            "empty for those that the model's family shares."
        )
    if match["first"] is None:
        return LayerRange(word, match["section"], None)
    first, last = int(match["first"]), int(match["last"] or match["first"])
    if last < first:
        raise ValueError(f"blocks: {word!r} runs backwards; write {match['section']}.{last}-{first}.")
    return LayerRange(word, match["section"], range(first, min(last, sys.maxsize - 1) + 1))
