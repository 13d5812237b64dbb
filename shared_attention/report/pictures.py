"""Pictures as the measures take them."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import interpolate

CHANNELS = (1, 3, 4)


def as_pictures(images: Tensor, called: str) -> Tensor:
    """`images` (rows, height, width, 1, 3 or 4), sRGB, on the CPU as float32 of 0..1 and (rows, height, width, 3).

    Alpha is dropped, grey becomes three equal channels. Raises ValueError, which calls the input `called`, where there
    are no pictures, no such channels, or values that are not numbers.
    """
    if images.ndim != 4 or not images.numel() or images.shape[-1] not in CHANNELS:
        raise ValueError(
            f"{called} is no batch of pictures: its shape is {tuple(images.shape)}. Connect an IMAGE, such as VAE "
            "Decode's or Load Image's."
        )
    images = images.detach().float().cpu()
    unusable = [str(row + 1) for row in range(len(images)) if not images[row].isfinite().all()]
    if unusable:
        raise ValueError(
            f"{called} has values that are not numbers in picture {', '.join(unusable)}: such a picture is black. The "
            "model or the VAE overflowed; start ComfyUI with --fp32-vae or take another VAE."
        )
    return images.expand(-1, -1, -1, 3).clamp(0, 1) if images.shape[-1] == 1 else images[..., :3].clamp(0, 1)


def resized(picture: Tensor, height: int, width: int) -> Tensor:
    """`picture` (height, width, 3) at another size, each pixel the mean of what it covers; itself at its own size."""
    if picture.shape[:2] == (height, width):
        return picture
    whole = picture.movedim(-1, 0)[None]
    scaled = interpolate(whole, (height, width), mode="bilinear", antialias=True, align_corners=False)
    return scaled[0].movedim(0, -1)
