"""What is drawn: sets of one style and a few objects, the first of which is the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from devtools.checkpoint_evaluation.errors import EvaluationError

SHIPPED = Path(__file__).with_name("sets.txt")
BETWEEN_STYLE_AND_OBJECTS, BETWEEN_OBJECTS, COMMENT = "|", ";", "#"


@dataclass(frozen=True)
class StyleSet:
    """A set, numbered from 1 in the order of its file."""

    number: int
    style: str
    objects: tuple[str, ...]

    @property
    def prompts(self) -> str:
        """As the node Prompts takes them; it adds the style."""
        return "\n".join(self.objects)


def read_sets(path: Path) -> list[StyleSet]:
    """A line each: `style | object; object; ...`. Empty lines and those that begin with # are ignored."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise EvaluationError(f"{path}, the file of sets, cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise EvaluationError(f"{path}, the file of sets, is not UTF-8 text") from error
    sets: list[StyleSet] = []
    for place, line in enumerate(lines, start=1):
        if line.strip() and not line.lstrip().startswith(COMMENT):
            sets.append(_read_set(len(sets) + 1, line, f"line {place} of {path}"))
    if not sets:
        raise EvaluationError(f"{path} has no set in it; write one a line, such as: oil painting | a boat; a tower")
    return sets


def _read_set(number: int, line: str, where: str) -> StyleSet:
    style, found, listed = line.partition(BETWEEN_STYLE_AND_OBJECTS)
    objects = tuple(each.strip() for each in listed.split(BETWEEN_OBJECTS) if each.strip())
    if not found or len(objects) < 2:
        raise EvaluationError(
            f"{where} is no set: {line.strip()!r}. Write the style, a bar, and two or more objects with semicolons "
            "between them, the reference first, such as: oil painting | a boat; a tower"
        )
    return StyleSet(number, style.strip(), objects)


def pick(sets: Sequence[StyleSet], numbers: str | None) -> list[StyleSet]:
    """Those that `numbers` names, such as 1-10,25; all of them where it is None."""
    if numbers is None:
        return list(sets)
    try:
        wanted = {number for part in numbers.split(",") for number in _span(part)}
    except ValueError as error:
        raise EvaluationError(f"--sets {numbers} are no numbers of sets; write them such as: 1-10,25") from error
    if unknown := sorted(wanted - {each.number for each in sets}):
        raise EvaluationError(f"--sets {numbers}: there is no set {unknown[0]}; they are numbered 1 to {len(sets)}")
    return [each for each in sets if each.number in wanted]


def _span(part: str) -> range:
    first, dash, last = part.partition("-")
    span = range(int(first), int(last if dash else first) + 1)
    if not span:
        raise ValueError(part)
    return span
