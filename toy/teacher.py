"""The icon UNet as a teacher of the transformer.

Trained on pictures alone, a model's target at a noise level is the one picture that was noised, of all that could have
been. What another trained model makes of the same input is about the mean of them all, the very thing to be learnt, and
so says the same with far less chance in it (distillation; Hinton et al. 2015).
"""

import numpy as np
import torch
from torch import Tensor

from .networks import UNET_CHECKPOINT, IconUNet, load
from .sampling import Process

TAUGHT = 0.4, 0.93
"""Noise levels of a rectified flow: below them the picture itself is as good a target, above them the teacher's noise
schedule ends."""


class Teacher:
    """For pictures that were noised by another process than the UNet's own."""

    def __init__(self, process: Process, device: torch.device | str = "cpu") -> None:
        self.unet = IconUNet(device)
        load(self.unet, UNET_CHECKPOINT)
        self.length = (process.signal**2 + process.noise_level**2).sqrt()
        own, other = (torch.logit(each.power().double()).cpu().numpy() for each in (self.unet.process, process))
        nearest = np.interp(-other, -own, np.arange(len(own)))  # of the same share of noise
        self.timesteps = torch.from_numpy(nearest.round()).long().to(device)
        self.taught = (process.noise_level > TAUGHT[0]) & (process.noise_level < TAUGHT[1])

    @torch.no_grad()
    def correct(self, clean: Tensor, noised: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        """The clean pictures `(rows, 3, SIZE, SIZE)`, replaced by the teacher's guess where it teaches."""
        rows = self.taught[timesteps].nonzero().squeeze(1)
        if not len(rows):
            return clean
        own = self.timesteps[timesteps[rows]]
        seen = noised[rows] / self.length[timesteps[rows]].view(-1, 1, 1, 1)
        guess, _ = self.unet.process.parts(seen, self.unet.predict(seen, own, tokens[rows]), own)
        return clean.index_copy(0, rows, guess)
