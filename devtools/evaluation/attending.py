"""How much of their attention the targets of sets give to the reference, in each part of an icon model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import torch

from devtools.evaluation.drawing import Studio, blank, studio_of
from devtools.evaluation.sets import plan
from devtools.evaluation.variants import VARIANTS, Variant
from toy.precision import half_precision

DEFAULT_BLOCKS = {"unet": "all", "flux": "single"}  # of an empty `blocks`
EVERY_STEP = 10_000


def attention_to_reference(model: str, base: str, keys: Sequence[str], sets: int) -> dict[str, float]:
    """The mean share of the softmax's mass, by the key of a variant: in the blocks and the part of sampling it names.

    All of it in sets drawn one way, with every block sharing and else as the variant `base`, so that shares compare.
    """
    studio = studio_of(model)
    everything = Variant(
        "", "", {**(VARIANTS[base].sharing or {}), "blocks": "all"}, positions=VARIANTS[base].positions
    )
    found: dict[str, list[float]] = {key: [] for key in keys}
    with torch.inference_mode(), half_precision():
        for number in range(sets):
            run = _recorded(studio, everything, number)
            for key in keys:
                found[key].append(_share(run, VARIANTS[key].sharing or {}, DEFAULT_BLOCKS[model]))
    return {key: fmean(each) for key, each in found.items()}


def _recorded(studio: Studio, variant: Variant, number: int) -> Any:
    from style_aligned.nodes.attention_map import StyleAlignedRecordAttention

    wanted = plan(number)
    recording, record = StyleAlignedRecordAttention.execute(studio.sharing(variant), EVERY_STEP).result
    studio.draw_with(recording, blank(len(wanted.shapes)), wanted)
    return record.run_of(len(wanted.shapes))


def _share(run: Any, sharing: Mapping[str, Any], default: str) -> float:
    from style_aligned.shared_attention.attention_map.averaging import averaged
    from style_aligned.shared_attention.layers import LayerSelection

    start, end = sharing.get("start_percent", 0.0), sharing.get("end_percent", 1.0)
    layers = LayerSelection.parse(sharing.get("blocks", default))
    shares: Iterable[float] = averaged(run, layers, start, end - 1e-6).by_layer.values()
    return fmean(shares)
