"""GLIGEN's boxes with texts, which a given reference has none of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from .run import ReferenceRun

Patch = Callable[[Tensor, dict[str, Any]], Tensor]
"""The host's patch between self- and cross-attention: hidden states (rows, tokens, channels) and a call's options."""


class GroundedTargets:
    """Stands in for the host's GLIGEN model in a run; its patches leave the reference's rows as they were."""

    def __init__(self, gligen: Any, run: ReferenceRun) -> None:
        self.gligen = gligen
        self.run = run

    @property
    def model(self) -> GroundedTargets:
        """The host takes the model of what it has loaded."""
        return self

    def set_position(self, *boxes: Any) -> Patch:
        return self._of_targets(self.gligen.model.set_position(*boxes))

    def set_empty(self, *nowhere: Any) -> Patch:
        return self._of_targets(self.gligen.model.set_empty(*nowhere))

    def _of_targets(self, patch: Patch) -> Patch:
        def patched(x: Tensor, options: dict[str, Any]) -> Tensor:
            rows, grounded = self.run.rows(len(x), options), patch(x, options)
            return grounded if rows is None else rows.join(rows.references(x), rows.targets(grounded))

        return patched
