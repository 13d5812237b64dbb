"""OKLab, in which distances are about those that eyes see."""

from __future__ import annotations

from torch import Tensor, where

NOTICEABLE = 0.02
"""A difference of two colours that is just noticed (CSS Color 4 takes it for OKLab)."""

_TO_CONES = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
_TO_LAB = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)


def oklab(rgb: Tensor) -> Tensor:
    """sRGB colours `rgb` (..., 3) of 0..1 as L, a, b (..., 3): L is 0 for black and 1 for white, a = b = 0 for greys.

    Björn Ottosson, A perceptual color space for image processing (2020), with its matrices.
    """
    linear = where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    cones = linear @ rgb.new_tensor(_TO_CONES).T
    return cones.clamp_min(0) ** (1 / 3) @ rgb.new_tensor(_TO_LAB).T
