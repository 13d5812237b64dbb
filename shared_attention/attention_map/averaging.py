"""What was seen in many layers, at many noise levels, as one map for each target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..layers import LayerKey, LayerSelection
from ..places import region_of
from .looking import FINEST, Seen
from .recording import Look, RunLooks


class TargetMap(NamedTuple):
    """Where one target looked; shares of the softmax's mass.

    mass: on each reference, (references, rows, columns) of the target. places: on each field of the references'
    pictures, (references, rows, columns, FINEST, FINEST); their sum over fields is the mean of `mass`.
    """

    mass: Tensor
    places: Tensor


@dataclass(frozen=True)
class Averages:
    """of_targets: by their number in the batch. by_layer, by_progress: means of the mass over all targets."""

    of_targets: Mapping[int, TargetMap]
    by_layer: Mapping[LayerKey, float]
    by_progress: Mapping[float, float]


def averaged(run: RunLooks, layers: LayerSelection, start: float, end: float) -> Averages:
    """Over the selected layers and the levels whose progress is from start to end, each look counting the same.

    Raises ValueError where there are none.
    """
    layers.require_in({look.layer for look in run.looks})
    chosen = [look for look in run.looks if look.layer in layers and start <= look.progress <= end]
    if not chosen:
        known = ", ".join(f"{each:.2f}" for each in sorted({look.progress for look in run.looks}))
        raise ValueError(
            f"Nothing was recorded between start_percent {start:g} and end_percent {end:g}. It was at {known}; choose "
            "a wider range, or more steps in Record Attention."
        )
    targets = sorted({number for look in chosen for number in look.targets})
    return Averages(
        {number: _map_of(number, chosen) for number in targets},
        {layer: _mean(each for each in chosen if each.layer == layer) for layer in _in_order(chosen)},
        {at: _mean(each for each in chosen if each.progress == at) for at in sorted({e.progress for e in chosen})},
    )


def looked_up(target: TargetMap, where: Tensor) -> Tensor:
    """Where a part of a target looked: the mean of the mass on each field, (references, FINEST, FINEST).

    where: how much each place of the target counts, (height, width). Raises ValueError where none does.
    """
    small = interpolate(where[None, None].float(), target.places.shape[1:3], mode="area")[0, 0]
    if not bool(small.any()):
        raise ValueError("The mask is black everywhere. Paint white the part of the image that you ask about.")
    return torch.einsum("rhwyx,hw->ryx", target.places, small / small.sum())


def _map_of(number: int, looks: Sequence[Look]) -> TargetMap:
    own = [look for look in looks if number in look.targets]
    seen = [(each, look.targets.index(number)) for look in own for each in look.seen]
    references = range(1 + max(each.reference for each, _ in seen))
    # Of a reference whose mask leaves none of its tokens in a layer, nothing is seen there.
    of_each = [[(each, row) for each, row in seen if each.reference == reference] for reference in references]
    finest, coarse = _finest([each.mass for each, _ in seen]), _finest([each.places for each, _ in seen])
    masses = [_summed([each.mass[row, ..., None] for each, row in one], finest, 1)[..., 0] for one in of_each]
    fields = [_summed([_fields(*pair) for pair in one], coarse, FINEST**2) for one in of_each]
    return TargetMap(
        torch.stack(masses) / len(own), torch.stack(fields).view(len(fields), *coarse, FINEST, FINEST) / len(own)
    )


def _finest(maps: Sequence[Tensor]) -> tuple[int, int]:
    """The most rows and columns of maps (targets, rows, columns, ...)."""
    return max(each.shape[1] for each in maps), max(each.shape[2] for each in maps)


def _summed(maps: Sequence[Tensor], size: tuple[int, int], values: int) -> Tensor:
    """Of maps (rows, columns, values), at one size."""
    resized = [interpolate(each.movedim(-1, 0)[None], size, mode="bilinear")[0] for each in maps]
    return torch.stack([torch.zeros(values, *size), *resized]).sum(0).movedim(0, -1)


def _fields(seen: Seen, row: int) -> Tensor:
    """What the target in a row saw of regions, on the common fields: (rows, columns, fields)."""
    return _spread(_spread(seen.places[row].float(), -1, seen.tokens[1]), -2, seen.tokens[0]).flatten(-2)


def _spread(shares: Tensor, axis: int, tokens: int) -> Tensor:
    """What regions along an axis have, on FINEST fields: each field gets as much of it as of the region's length."""
    regions = region_of(torch.arange(tokens), tokens, shares.shape[axis])
    lengths = torch.bincount(regions) / tokens
    ends, fields = lengths.cumsum(0)[:, None], torch.arange(FINEST + 1) / FINEST
    common = torch.minimum(ends, fields[1:]) - torch.maximum(ends - lengths[:, None], fields[:-1])
    return (shares.movedim(axis, -1) @ (common.clamp_min(0.0) / lengths[:, None])).movedim(-1, axis)


def _in_order(looks: Sequence[Look]) -> list[LayerKey]:
    """Each layer once, in the order in which the model runs them."""
    return list(dict.fromkeys(look.layer for look in looks))


def _mean(looks: Iterable[Look]) -> float:
    """Of the mass on all references together."""
    of_each = [torch.stack([each.mass.mean() for each in look.seen]).sum() for look in looks]
    return float(torch.stack(of_each).mean())
