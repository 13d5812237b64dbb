"""The shapes of icons: for each a function of the place that is positive inside it.

Places run from -1 to 1, `y` down; a shape fills about that square.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]  # one number a sample of the canvas


def _circle(x: Field, y: Field) -> Field:
    return 0.85 - np.hypot(x, y)


def _square(x: Field, y: Field) -> Field:
    return 0.75 - np.maximum(abs(x), abs(y))


def _triangle(x: Field, y: Field) -> Field:
    return np.minimum(0.7 - y, (y + 0.9) * 0.5 - abs(x) * 0.9)


def _star(x: Field, y: Field) -> Field:
    return 0.67 + 0.28 * np.cos(5 * (np.arctan2(y, x) + np.pi / 2)) - np.hypot(x, y)


def _heart(x: Field, y: Field) -> Field:
    u, v = x * 1.25, 0.1 - y * 1.25
    return u**2 * v**3 * 1.6 - (u**2 + v**2 - 0.75) ** 3


def _cross(x: Field, y: Field) -> Field:
    upright = np.minimum(0.28 - abs(x), 0.85 - abs(y))
    lying = np.minimum(0.28 - abs(y), 0.85 - abs(x))
    return np.maximum(upright, lying)


def _ring(x: Field, y: Field) -> Field:
    return 0.24 - abs(np.hypot(x, y) - 0.6)


def _moon(x: Field, y: Field) -> Field:
    return np.minimum(0.85 - np.hypot(x, y), np.hypot(x - 0.4, y + 0.1) - 0.62)


def _diamond(x: Field, y: Field) -> Field:
    return 0.9 - (abs(x) * 1.25 + abs(y))


def _house(x: Field, y: Field) -> Field:
    walls = np.minimum(0.6 - abs(x), np.minimum(y + 0.05, 0.8 - y))
    roof = np.minimum(-y, y + 0.85 - abs(x) * 0.95)
    return np.maximum(walls, roof)


def _tree(x: Field, y: Field) -> Field:
    trunk = np.minimum(0.13 - abs(x), np.minimum(y - 0.1, 0.9 - y))
    crown = np.minimum(0.35 - y, (y + 0.9) * 0.55 - abs(x))
    return np.maximum(trunk, crown)


def _mushroom(x: Field, y: Field) -> Field:
    stem = np.minimum(0.22 - abs(x), np.minimum(y + 0.05, 0.8 - y))
    cap = np.minimum(0.1 - y, 0.75 - np.hypot(x, y * 1.1))
    return np.maximum(stem, cap)


def _sun(x: Field, y: Field) -> Field:
    distance = np.hypot(x, y)
    rays = np.minimum(np.cos(8 * np.arctan2(y, x)), np.minimum(distance - 0.66, 1.05 - distance))
    return np.maximum(0.46 - distance, rays)


def _paw(x: Field, y: Field) -> Field:
    pad = 0.48 - np.hypot(x, (y - 0.4) * 1.1)
    outer = 0.22 - np.hypot(abs(x) - 0.76, y + 0.16)
    inner = 0.24 - np.hypot(abs(x) - 0.3, y + 0.66)
    return np.maximum(pad, np.maximum(outer, inner))


# The order of these names is the order of the trained embedding's rows: append, never reorder.
FIELD_OF: dict[str, Callable[[Field, Field], Field]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "heart": _heart,
    "cross": _cross,
    "ring": _ring,
    "moon": _moon,
    "diamond": _diamond,
    "house": _house,
    "tree": _tree,
    "mushroom": _mushroom,
    "sun": _sun,
    "paw": _paw,
}
