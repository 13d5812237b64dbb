"""Where things are in pictures: whether one copies another's layout, and which objects it shows beside the largest."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import interpolate, pad

from shared_attention.report.composition import GRID, composition, correlations
from shared_attention.report.oklab import oklab
from shared_attention.report.pictures import resized
from toy import icons
from toy.judge import Judge

LEAST_OBJECT = 32  # pixels: a paw's toes are smaller
TO_SIZE = 21  # pixels: the longer side of a shape in the icons, about
NEIGHBOURS = np.ones((3, 3), bool)  # pixels that touch at a corner belong together
STAMP = icons.Style(*(np.full(3, grey, np.float32) for grey in (0.9, 0.2, 0.2)), pattern=0, outline=0, backdrop=0)
"""In which every object is shown to the judge: dark on a bright ground, so that it looks at the shape alone."""


class Layout(NamedTuple):
    """Of the pictures of a set, the reference first."""

    copying: NDArray[np.float32]  # (pictures,), how much more of the reference's composition it has than the others'
    overlap: NDArray[np.float32]  # (pictures,), intersection over union of what its shape covers with the reference's
    further: NDArray[np.int64]  # (pictures, shapes), how often each is shown beside the largest object


def read_layout(judge: Judge, pictures: Tensor, coverages: Tensor) -> Layout:
    """pictures: (pictures, SIZE, SIZE, 3), 0..1; coverages: (pictures, SIZE, SIZE), as the judge reads them."""
    return Layout(
        copying(pictures).numpy(),
        overlaps(coverages[:1], coverages).numpy(),
        further_objects(judge, coverages),
    )


def copying(pictures: Tensor) -> Tensor:
    """Correlation of each picture's composition with the first's, less the mean of those with the rest: (pictures,).

    A set in one style correlates by its colours alone (icons of other shapes by 0.6), with the reference as with each
    other; what is more is copied from the reference. 0 for the first itself.
    """
    table = correlations(torch.stack([composition(oklab(resized(picture, GRID, GRID))) for picture in pictures]))
    with_rest = (table[1:, 1:].sum(1) - 1) / max(1, len(pictures) - 2)
    return pad(table[1:, 0] - with_rest, (1, 0))


def overlaps(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of what is covered by more than half; 0 where nothing is."""
    first, second = one > 0.5, other > 0.5
    return (first & second).sum((1, 2)) / (first | second).sum((1, 2)).clamp(min=1)


def further_objects(judge: Judge, coverages: Tensor) -> NDArray[np.int64]:
    """(pictures, shapes): each object but the largest is moved to the middle, enlarged, and read as an icon."""
    counts = np.zeros((len(coverages), len(icons.SHAPES)), np.int64)
    found = [(number, each) for number, coverage in enumerate(coverages) for each in objects(coverage)[1:]]
    if found:
        stamps = np.stack([icons.paint(enlarged(each).numpy(), STAMP) for _, each in found])
        labels = judge.read(torch.from_numpy(stamps).float() / 255).labels[:, 0]
        for (number, _), label in zip(found, labels.tolist(), strict=True):
            if label < len(icons.SHAPES):
                counts[number, label] += 1
    return counts


def objects(coverage: Tensor) -> list[Tensor]:
    """What lies apart in a coverage (SIZE, SIZE), cut out, the largest first."""
    parts, _ = ndimage.label(coverage.numpy() > 0.5, NEIGHBOURS)
    areas = np.bincount(parts.ravel())
    boxes = ndimage.find_objects(parts)
    order = sorted(range(1, len(areas)), key=lambda part: -areas[part])
    return [
        coverage[boxes[part - 1]] * torch.from_numpy(parts[boxes[part - 1]] == part)
        for part in order
        if areas[part] >= LEAST_OBJECT
    ]


def enlarged(cut: Tensor) -> Tensor:
    """Of the size, and at the place, that a shape has in an icon: (SIZE, SIZE)."""
    height, width = (max(1, round(side * TO_SIZE / max(cut.shape))) for side in cut.shape)
    scaled = interpolate(cut[None, None], (height, width), mode="bilinear", antialias=True)[0, 0]
    top, left = (icons.SIZE - height) // 2, (icons.SIZE - width) // 2
    return pad(scaled, (left, icons.SIZE - width - left, top, icons.SIZE - height - top))
