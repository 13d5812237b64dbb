"""Whether row 0 of a batch is the given reference, by what is in it.

A batch that is a part of another, in another order, or of another node has a row 0 too. At the start of a stage the
reference's row is one of two latents, up to rounding: the reference with its own noise, at any level and clean; or
along its path at the level at which the stage starts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from comfy.sample import prepare_noise_inner
from torch import Tensor

from .run import ReferenceRun

_ROUNDING = 5e-3
"""Relative; bfloat16 keeps 8 bits, half precision 11."""


def require_reference(
    run: ReferenceRun, latents: Tensor, sigma: float, noise: Tensor, seed: int | None, others: Sequence[int]
) -> None:
    """Raises ValueError where row 0 is not the reference, or by its noise is a target that starts as a copy of it.

    latents, noise: (images, channels, height, width), as given to the host's sampler, whose first noise level is
    `sigma`. others: the indices within the host's noise of `seed` of the set's targets.
    """
    if not _is_reference(run, latents[:1], sigma):
        raise ValueError(
            "The first image of the latent to sample is not the given reference. Connect the latent output of Style "
            "Aligned: Reference Latent, or what a sampler made of all of it: in the same order, of the same reference "
            "and trajectory, with the sampler's own noise. To go on from other pictures, connect those to the pictures "
            "input of Style Aligned: Reference Latent."
        )
    if _are_copies(run, latents) and _is_target(noise, seed, others):
        raise ValueError(
            f"The batch to sample has {len(latents)} of the set's {len(others) + 1} images, and its first is a target, "
            "not the reference. Sample the set as one batch (without Rebatch Latents or Latent From Batch), or give "
            "each part a Style Aligned: Reference Latent of its own."
        )


def _is_reference(run: ReferenceRun, row: Tensor, sigma: float) -> bool:
    given = run.latent_format.process_in(row.to(run.clean))
    return _near(given, _fitted(run, given)) or _near(row, run.latent_at(sigma).to(row))


def _near(given: Tensor, expected: Tensor) -> bool:
    """Never to what is infinite, as a flow's latent without noise is at its noisiest level."""
    return bool((given.float() - expected.float()).norm() < _ROUNDING * expected.float().norm())


def _fitted(run: ReferenceRun, given: Tensor) -> Tensor:
    """The reference with its own noise at the level that is nearest to `given`: flow models scale it to the same."""
    noise = run.matched.noise
    level = (given - run.clean).mul(noise).sum() / noise.square().sum()
    return run.clean + level.clamp(min=0) * noise


def _are_copies(run: ReferenceRun, latents: Tensor) -> bool:
    """Whether a target of this batch may look as its reference does: one is alone, or another row is the same."""
    return len(latents) == 1 or any(_near(row, run.reference[0].to(row)) for row in latents[1:])


def _is_target(noise: Tensor, seed: int | None, others: Sequence[int]) -> bool:
    """Whether row 0 has the noise that the host draws for one of `others`.

    In a whole set without indices, which other nodes may have dropped, the reference has that of the first.
    """
    if seed is None or not others or not torch.count_nonzero(noise[:1]):
        return False
    generator = torch.Generator().manual_seed(seed)
    drawn = prepare_noise_inner(noise[:1].cpu(), generator, list(others))
    is_whole = len(noise) == len(others) + 1
    return any(torch.equal(row, noise[0].cpu()) for row in (drawn[1:] if is_whole else drawn))
