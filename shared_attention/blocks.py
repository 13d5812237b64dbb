"""Where sharing is on: a selection of the UNet's blocks."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

SECTIONS = ("input", "middle", "output")
_TOKEN = re.compile(r"(?P<section>[a-z]+)(?:\.(?P<first>\d+)(?:-(?P<last>\d+))?)?")


@dataclass(frozen=True)
class BlockSelection:
    """Blocks by section and number, such as ("input", 4). `ranges` None selects every block."""

    ranges: tuple[tuple[str, range], ...] | None = None

    @classmethod
    def parse(cls, text: str) -> BlockSelection:
        """Read a list such as `input.4-8, middle, output.0-5`; empty text selects every block.

        A section without numbers is the whole section. Raises ValueError naming the token that cannot be read.
        """
        tokens = [token for token in re.split(r"[,;\s]+", text.strip().lower()) if token]
        return cls(tuple(_parse_token(token) for token in tokens) if tokens else None)

    @property
    def is_all(self) -> bool:
        return self.ranges is None

    def __contains__(self, block: tuple[str, int]) -> bool:
        section, number = block
        return self.ranges is None or any(name == section and number in numbers for name, numbers in self.ranges)


def _parse_token(token: str) -> tuple[str, range]:
    match = _TOKEN.fullmatch(token)
    if match is None or match["section"] not in SECTIONS:
        raise ValueError(
            f"blocks: {token!r} is not a block. Write a section (input, middle or output), with a number or a range "
            "where wanted, such as input.4-8, middle, output.0-5. Leave blocks empty for all of them."
        )
    if match["first"] is None:
        return match["section"], range(sys.maxsize)
    first, last = int(match["first"]), int(match["last"] or match["first"])
    if last < first:
        raise ValueError(f"blocks: {token!r} runs backwards; write {match['section']}.{last}-{first}.")
    return match["section"], range(first, last + 1)
