"""What is drawn: sets of one reference and four other shapes, the same for every variant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toy import icons

TARGETS = 4
SEED = 20231204  # a set's own randomness follows from this and its number


@dataclass(frozen=True)
class Plan:
    """One set: five different shapes, the reference's first, and the words of a style that its prompts name."""

    number: int
    shapes: tuple[str, ...]
    words: tuple[str, ...]
    picture: icons.Picture  # what stands for the reference in sets whose reference is given, in a style of its own
    second: icons.Picture  # the same shape in another style, where two references are mixed

    @property
    def prompts(self) -> str:
        return "\n".join(self.shapes)

    @property
    def prompts_of_targets(self) -> str:
        return "\n".join(self.shapes[1:])

    @property
    def style(self) -> str:
        return ", ".join(self.words)


def plan(number: int) -> Plan:
    """Set `number`: in even sets the style is left to the model, in odd ones about half of it is named."""
    rng = np.random.default_rng((SEED, number))
    shapes = [str(shape) for shape in rng.permutation(icons.SHAPES)[: 1 + TARGETS]]
    style = icons.random_style(rng)
    words = [word for word in style.words if number % 2 and rng.random() < 0.5]
    picture = icons.draw(rng, shapes[0], style)
    second = icons.draw(rng, shapes[0], icons.random_style(rng))
    return Plan(number, tuple(shapes), tuple(words), picture, second)
