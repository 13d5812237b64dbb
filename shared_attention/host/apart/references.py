"""The references on a model, each with all that it takes to run the model over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...conditioning import Conditioning
from ...keeping import Keeping
from ...masks import Mask
from ...trajectory import Trajectory
from ..calls import KEY as SHARE_ATTENTION
from ..wrappers import attach, detach

KEY = "style_aligned.references"


@dataclass(frozen=True, eq=False)
class Reference:
    """A picture whose style targets take on, in no row of their batch.

    samples: (1, channels, (1,) height, width), as in the host's LATENT. positive, negative: the host's CONDITIONING of
    its own pass; without them zeros, and the negative of the targets. trajectory: its path; without one it is
    noise-matched. weight: how much it counts among several, as each of its tokens taken so many times. style_mask:
    the part that gives its style, all of it where there is none.
    """

    samples: Tensor
    positive: Conditioning | None = None
    negative: Conditioning | None = None
    trajectory: Trajectory | None = None
    weight: float = 1.0
    keeping: Keeping = field(default_factory=Keeping)
    style_mask: Mask | None = None


def add_reference(model: Any, reference: Reference) -> Any:
    """A clone of the host's `model` with one more reference."""
    before: tuple[Reference, ...] = model.model_options.get("transformer_options", {}).get(KEY, ())
    wrappers: dict[str, Callable[..., Any]] = {WrappersMP.OUTER_SAMPLE: _around_run}
    clone = model.clone() if before else attach(model, KEY, wrappers, "a reference")
    # A tuple: the host copies lists and dicts of its options at every call.
    clone.model_options.setdefault("transformer_options", {})[KEY] = (*before, reference)
    return clone


def without_references(model: Any) -> Any:
    """A clone of the host's `model` without any."""
    clone = detach(model, KEY)
    clone.model_options.get("transformer_options", {}).pop(KEY, None)
    return clone


def of_options(model_options: dict[str, Any]) -> tuple[Reference, ...]:
    """The references on a model with these options; one of weight 0 is as if it were not there."""
    every: tuple[Reference, ...] = model_options.get("transformer_options", {}).get(KEY, ())
    return tuple(each for each in every if each.weight > 0.0)


def _around_run(executor: Any, *args: Any, **kwargs: Any) -> Tensor:
    """OUTER_SAMPLE wrapper. Raises ValueError where nothing would read the references."""
    guider = executor.class_obj
    is_read = guider.model_patcher.get_wrappers(WrappersMP.APPLY_MODEL, SHARE_ATTENTION)
    if of_options(guider.model_options) and not is_read:
        raise ValueError(
            "The model has a Style Aligned: Reference, and nothing takes its style: add Style Aligned: Share Attention "
            "to the model, before or after it."
        )
    return cast(Tensor, executor(*args, **kwargs))
