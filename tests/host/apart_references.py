"""References apart from the batch, added as our node does."""

from __future__ import annotations

from typing import Any

from given_reference import picture
from style_aligned.nodes.reference import StyleAlignedReference
from tiny_models import conditioning
from torch import Tensor


def apart(model: Any, reference: Tensor | None = None, seed: int = 21, **inputs: Any) -> Any:
    """The output of the node; the prompt of the reference is that of `seed`."""
    latent = {"samples": picture() if reference is None else reference}
    given = {"conditioning": conditioning(1, seed=seed), **inputs}
    return StyleAlignedReference.execute(model, latent, **given).result[0]
