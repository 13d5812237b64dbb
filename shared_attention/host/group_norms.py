"""Shared group-norm statistics in a UNet, for the time of one model call."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ..group_norm import Moments, moments, normalise, pool, weighted_moments
from ..layers import LayerKey, LayerSelection
from ..masks import Mask, blended
from ..rows import Rows
from ..sources import Source
from .compiling import uncompiled

_MISSING = object()


@contextmanager
def share_statistics(
    unet: Any, layers: LayerSelection, source: Source, strength: float, target_mask: Mask | None = None
) -> Iterator[None]:
    """Within the context the group norms of the selected blocks take their statistics over target and reference."""
    norms = list(selected_norms(unet, layers))
    # An instance may carry a forward of its own (another node's, or an outer context's): that one has to come back.
    before = [norm.__dict__.get("forward", _MISSING) for norm in norms]
    try:
        for number, norm in enumerate(norms):
            mode = _SharedStatistics(source, ("norm", number), strength, target_mask)
            norm.__dict__["forward"] = partial(_shared_forward, norm.forward, mode)
        yield
    finally:
        for norm, forward in zip(norms, before, strict=True):
            if forward is _MISSING:
                norm.__dict__.pop("forward", None)
            else:
                norm.__dict__["forward"] = forward


def selected_norms(unet: Any, layers: LayerSelection) -> Iterator[nn.GroupNorm]:
    """The group norms within the selected blocks; when every block is selected, that of the output layer too."""
    for block, module in _blocks(unet):
        if block in layers:
            yield from _norms_in(module)
    if layers.is_all:
        yield from _norms_in(unet.out)


def blocks_with_norms(unet: Any) -> Iterator[LayerKey]:
    """The blocks that have group norms."""
    return (block for block, module in _blocks(unet) if any(True for _ in _norms_in(module)))


def _blocks(unet: Any) -> Iterator[tuple[LayerKey, nn.Module]]:
    sections = [("input", unet.input_blocks), ("middle", [unet.middle_block]), ("output", unet.output_blocks)]
    for section, members in sections:
        for number, block in enumerate(members):
            if block is not None:
                yield (section, number), block


def _norms_in(module: nn.Module) -> Iterator[nn.GroupNorm]:
    return (child for child in module.modules() if isinstance(child, nn.GroupNorm))


@uncompiled
def _shared_forward(forward: Callable[[Tensor], Tensor], mode: _SharedStatistics, x: Tensor) -> Tensor:
    """One function for all norms: keeping one out of compiled graphs is not for free, and a model has dozens."""
    if x.shape[0] != mode.source.rows.count or x.ndim != 4 or not mode.source.knows(mode.slot):
        return forward(x)
    with mode:
        return forward(x)


class MaskedMoments(NamedTuple):
    """What targets read of a reference. part: how much of it counts, from 0 to all of it (1)."""

    moments: Moments
    part: float = 1.0


class _SharedStatistics(TorchFunctionMode):
    """Replaces group_norm within a norm's own forward, where the host has brought weights to their device and dtype."""

    def __init__(self, source: Source, slot: Hashable, strength: float, target_mask: Mask | None) -> None:
        super().__init__()
        self.source = source
        self.slot = slot
        self.strength = strength
        self.target_mask = target_mask

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is functional.group_norm:
            return self._group_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _group_norm(
        self,
        input: Tensor,
        num_groups: int,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Tensor:
        rows, own = self.source.rows, moments(input, num_groups)
        given = self.source.of(self.slot, lambda: self._of_references(input, own))
        others = [
            (_of_rows(each.features.moments, rows, input), self.strength * each.weight * each.features.part)
            for each in given
        ]
        out = normalise(input, pool(own, others), weight, bias, eps)
        if self.target_mask is not None:
            plain = functional.group_norm(input, num_groups, weight, bias, eps)
            grid = (1, *input.shape[-2:])
            mask = self.target_mask.of_tokens(grid).view(1, -1, 1, *input.shape[-2:])
            mixed = blended(rows.targets(plain), rows.targets(out), mask)
            out = rows.join(rows.references(out), mixed)
        if rows.has_references:
            # The reference is normalised as it would be alone, to the bit.
            references = rows.references(input).flatten(0, 1)
            plain = functional.group_norm(references, num_groups, weight, bias, eps)
            rows.references(out).copy_(plain.unsqueeze(1))
        return out

    def _of_references(self, x: Tensor, own: Moments) -> MaskedMoments:
        rows, style = self.source.rows, self.source.style_mask
        if style is None:
            return MaskedMoments(Moments(*(rows.references(moment) for moment in own)))
        counts = style.of_tokens((1, *x.shape[-2:]))[0]
        masked = weighted_moments(rows.references(x).flatten(0, 1), own.mean.shape[1], counts)
        return MaskedMoments(Moments(*(moment.unsqueeze(1) for moment in masked)), float(counts.mean()))


def _of_rows(given: Moments, rows: Rows, x: Tensor) -> Moments:
    """A reference's moments (chunks, 1, groups) for every row of `x`: (rows, groups)."""
    return Moments(*(moment.to(x.device).expand(-1, rows.images, -1).flatten(0, 1) for moment in given))
