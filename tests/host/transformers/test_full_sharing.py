"""Full sharing, the ceiling of a checkpoint's evaluation, in every family: each image depends on all of its set."""

from __future__ import annotations

import pytest
import torch
from runs import run, variants
from variant import Variant

from devtools.checkpoint_evaluation.full_sharing import full_sharing

SHARED, ALONE = 1e-4, 1e-6


@pytest.mark.parametrize("variant", variants(), indirect=True)
def test_each_image_depends_on_all_of_its_set(variant: Variant):
    model = variant.model()
    noise = variant.noise()
    changed = noise.clone()
    changed[2] += torch.randn(variant.latent, generator=torch.Generator().manual_seed(3))

    def spread(model) -> torch.Tensor:
        """How much the first two images change with the third."""
        found = (run(model, variant, steps=1, initial=initial) for initial in (noise, changed))
        difference = torch.stack([*found]).diff(dim=0)[0, :2]
        return difference.flatten(1).abs().amax(1)

    assert (spread(full_sharing(model)) > SHARED).all()
    assert (spread(model) < ALONE).all()
