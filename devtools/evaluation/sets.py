"""What is drawn: sets of one reference and four other shapes, the same for every variant, and harder ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toy import icons

TARGETS = 4
SEED = 20231204  # a set's own randomness follows from this and its number


SOMETHING = "something"  # no word of the models': a line that names nothing
OFF_CENTRE, LARGE = (0.2, 0.35), (0.75, 0.95)  # of half the picture: how far, and the radius
HARD_LINES = ("nothing", "style", "shape")  # what the lines of hard sets name, in turn


@dataclass(frozen=True)
class Plan:
    """One set: five different shapes, the reference's first, and the words of a style that its prompts name."""

    number: int
    shapes: tuple[str, ...]
    words: tuple[str, ...]
    picture: icons.Picture  # what stands for the reference in sets whose reference is given, in a style of its own
    second: icons.Picture  # the same shape in another style, where two references are mixed
    lines: tuple[str, ...] = ()  # of the targets, where they are not their shapes

    @property
    def prompts(self) -> str:
        return f"{self.shapes[0]}\n{self.prompts_of_targets}"

    @property
    def prompts_of_targets(self) -> str:
        return "\n".join(self.lines or self.shapes[1:])

    @property
    def style(self) -> str:
        return ", ".join(self.words)


def plan(number: int, hard: bool = False) -> Plan:
    """Set `number`: in even sets the style is left to the model, in odd ones about half of it is named.

    hard: a set that tempts to copy. The given reference is large and off the centre, and two thirds of the sets do not
    say what their targets show: nothing at all in one, a style alone in the next.
    """
    rng = np.random.default_rng((SEED, number))
    shapes = [str(shape) for shape in rng.permutation(icons.SHAPES)[: 1 + TARGETS]]
    style = icons.random_style(rng)
    words = [word for word in style.words if number % 2 and rng.random() < 0.5]
    if hard:
        return _hard(rng, number, tuple(shapes), style)
    picture = icons.draw(rng, shapes[0], style)
    second = icons.draw(rng, shapes[0], icons.random_style(rng))
    return Plan(number, tuple(shapes), tuple(words), picture, second)


def _hard(rng: np.random.Generator, number: int, shapes: tuple[str, ...], style: icons.Style) -> Plan:
    centre = rng.uniform(*OFF_CENTRE, 2) * rng.choice([-1, 1], 2)
    picture = icons.paint(icons.coverage(shapes[0], centre, rng.uniform(*LARGE)), style)
    named = HARD_LINES[number % len(HARD_LINES)]
    lines = {"nothing": (SOMETHING,) * TARGETS, "style": (style.words[number % 4],) * TARGETS, "shape": ()}[named]
    return Plan(number, shapes, (), picture, picture, lines)
