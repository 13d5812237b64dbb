"""Texture and contrast: how much the lightness varies, from fine detail to coarse, wherever in the picture."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

OCTAVES = 5
BLOCKS = tuple(2**octave for octave in range(OCTAVES))  # the sides of the blocks compared, in pixels of BASE
BASE = 512  # the longer side of the pictures that are measured, in pixels
FLOOR = 1 / 255  # an amplitude that is none: about the smallest step of 8 bits


def texture(lightness: Tensor) -> Tensor:
    """The amplitude of each octave of OKLab's `lightness` (height, width): (OCTAVES,), units of L.

    Octave k: the root mean square difference of the means of four neighbouring blocks of 2^k x 2^k pixels from the mean
    of the four, over all places in the picture. These are the amplitudes of the Haar wavelet (Haar 1910) without its
    grid, so that moving a pattern changes nothing.
    """
    short = [max(0, 2 * BLOCKS[-1] - side) for side in (lightness.shape[1], lightness.shape[0])]
    means = pad(lightness[None, None], (0, short[0], 0, short[1]), "replicate")[0, 0]
    found = []
    for block in BLOCKS:
        rows, columns = (side - block for side in means.shape)
        four = [means[y : y + rows, x : x + columns] for y in (0, block) for x in (0, block)]
        mean = sum(four[1:], four[0]) / 4
        found.append(sum(((each - mean).square().mean() for each in four), means.new_zeros(())) / 4)
        means = mean
    return torch.stack(found).sqrt()


def contrast(lightness: Tensor) -> Tensor:
    """The standard deviation of OKLab's `lightness` (height, width) over the picture: (), 0 to 0.5."""
    return lightness.std(correction=0)


def distances(textures: Tensor) -> Tensor:
    """Of `textures` (pictures, OCTAVES) from each other: (pictures, pictures), in doublings.

    The mean over the octaves of |log2| of the amplitudes' ratio: 0 where both have as much of every octave, 1 where one
    has twice as much as the other. Amplitudes below FLOOR count as FLOOR, or noise that nobody sees would count.
    """
    logarithms = textures.clamp_min(FLOOR).log2()
    return (logarithms[:, None] - logarithms[None]).abs().mean(-1)
