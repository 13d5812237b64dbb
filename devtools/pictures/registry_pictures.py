"""Draw the icon and the banner that the Comfy registry shows of the pack: icons in a style that a set shares.

    python -m devtools.pictures.registry_pictures

The registry takes them by their address: docs/releasing.md says where it goes.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from devtools import ROOT
from toy.icons import FRAME, SHAPES, SIZE, Style, paint, place

FOLDER = ROOT / "docs" / "images"
ICON_SIDE = 400
BANNER = (1260, 540)  # 21:9
NIGHT, CREAM = "#1d2433", "#f3eee3"
SHOWN = ("mushroom", "house", "tree", "star")


def colour(code: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(code), np.uint8).astype(np.float32) / 255


def style(background: str, fill: str, second: str, pattern: int, outline: int, backdrop: int) -> Style:
    """A style of three colours; the numbers are places in the lists of `toy.icons`."""
    return Style(colour(background), colour(fill), colour(second), pattern, outline, backdrop)


STYLES = [
    style("f2d8a7", "e4572e", "8c2f39", 1, 1, 0),
    style("2e86ab", "f6f5ae", "f5a65b", 4, 2, 2),
    style("b8dfc8", "7d5ba6", "55286f", 3, 1, 1),
]


def tile(shape: str, drawn_in: Style, side: int) -> Image.Image:
    """One icon with its pixels crisp; the same shape lies at the same place in every style."""
    picture = paint(place(np.random.default_rng(SHAPES.index(shape) + FRAME), shape), drawn_in)
    return Image.fromarray(picture).resize((side, side), Image.Resampling.NEAREST)


def sheet(size: tuple[int, int], rows: list[list[Image.Image]], ground: str) -> Image.Image:
    """The tiles in rows, evenly apart."""
    side = rows[0][0].width
    picture = Image.new("RGB", size, ground)
    across, down = (space / count for space, count in zip(size, (len(rows[0]), len(rows)), strict=True))
    for row, tiles in enumerate(rows):
        for column, each in enumerate(tiles):
            left, top = (round((place + 0.5) * step - side / 2) for place, step in ((column, across), (row, down)))
            picture.paste(each, (left, top))
    return picture


def icon() -> Image.Image:
    tiles = [tile(shape, STYLES[0], 5 * SIZE) for shape in SHOWN]
    return sheet((ICON_SIDE, ICON_SIDE), [tiles[:2], tiles[2:]], NIGHT)


def banner() -> Image.Image:
    """A set in a row, each row in a style of its own."""
    columns = [*SHOWN, *(shape for shape in SHAPES if shape not in SHOWN)][:7]
    return sheet(BANNER, [[tile(shape, each, 5 * SIZE) for shape in columns] for each in STYLES], CREAM)


PICTURES = {"registry-icon.png": icon, "registry-banner.png": banner}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        draw().save(FOLDER / name, optimize=True)
        print(FOLDER / name)
