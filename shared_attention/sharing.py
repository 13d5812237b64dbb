"""Shared attention (section 3.2 of the paper, equations 2 to 4): targets attend to themselves and to their reference.

    Q^ = AdaIN(Q_t, Q_r)    K^ = AdaIN(K_t, K_r)
    out = softmax(Q^ [K^ ; scale * K_r]^T / sqrt(d) + [0 ; shift]) [V_t ; V_r]

With a strength a below 1, AdaIN is mixed in by a and the softmax's mass on the reference is weighted by a: the shift
becomes shift + ln a.

Of several references r with weights w_r, each adds its keys and values, and their statistics are averaged:

    shift_r = shift + ln a + ln w_r + ln(N_t / N_r)        AdaIN to sum_r w_r (mean_r, std_r) / sum_r w_r

N are numbers of tokens: a picture counts the same at every size. Where a reference has a mask, ln m is added to the
logits of each of its tokens, and its statistics are weighted by m (see masks).

Tensors are (chunks, images, ..., tokens, channels): where a model needs its heads apart they come before the tokens,
else they lie side by side in the channels, as AdaIN treats each channel on its own. A reference has one image a chunk.
Where its features come from is the caller's business.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from .adain import Statistics, adain, mixed, statistics, weighted_statistics
from .attending import Attention, Extension, Projections, attended, extended, extended_mask, scaled
from .beside import share_beside
from .keeping import Keeping
from .places import Places
from .sources import Weighted

GivenStatistics = tuple[Statistics | None, Statistics | None, Statistics | None]
"""What queries, keys and values are aligned to; None where they are not."""


class Features(NamedTuple):
    """What targets read of a reference in one layer: its keys and values, and statistics for AdaIN where it is on.

    mask: how much each token counts, (chunks, tokens) alike in all chunks; None where all count fully. places: where
    they stand, where that is asked for. subject: how much each token belongs to the subject, like `mask`, where that is
    asked for and known.
    """

    key: Tensor
    value: Tensor
    query_statistics: Statistics | None = None
    key_statistics: Statistics | None = None
    value_statistics: Statistics | None = None
    mask: Tensor | None = None
    places: Places | None = None
    subject: Tensor | None = None


@dataclass(frozen=True)
class SharingSettings:
    """How targets attend to their reference; the defaults are the paper's text-to-image settings.

    scale multiplies the reference's keys (the authors' shared_score_scale). shift is added to the logits of the
    reference's tokens (shared_score_shift): ln 2 counts each of them twice. share_group_norm takes group norms'
    statistics over a target and its reference together. The adain_ flags choose the projections that AdaIN aligns.
    strength is how much of all that is done: 0 is nothing, 1 all of it.
    """

    scale: float = 1.0
    shift: float = 0.0
    share_group_norm: bool = False
    adain_queries: bool = True
    adain_keys: bool = True
    adain_values: bool = False
    strength: float = 1.0

    @property
    def reference_bias(self) -> float:
        """What is added to the logits of the reference's tokens; `strength` has to be above 0."""
        return self.shift + math.log(self.strength)


def features(
    reference: Projections,
    settings: SharingSettings,
    mask: Tensor | None = None,
    places: Places | None = None,
    subject: Tensor | None = None,
) -> Features:
    """The features of a reference whose projections are at hand; mask and subject: of each token, (tokens,)."""

    def of(x: Tensor) -> Statistics:
        # Other nodes may merge tokens of the queries alone: then nobody knows what each of them counts.
        return weighted_statistics(x, mask) if mask is not None and len(mask) == x.shape[-2] else statistics(x)

    return Features(
        reference.key,
        reference.value,
        of(reference.query) if settings.adain_queries else None,
        of(reference.key) if settings.adain_keys else None,
        of(reference.value) if settings.adain_values else None,
        None if mask is None else mask.expand(len(reference.key), -1),
        places,
        None if subject is None else subject.expand(len(reference.key), -1),
    )


def kept(found: Features, keeping: Keeping, grid: Sequence[int] | None) -> Features:
    """The features as a bank keeps them; grid: of the reference's tokens."""

    def thinned(of_tokens: Tensor | None) -> Tensor | None:
        return None if of_tokens is None else keeping.thinned(of_tokens, grid, axis=-1)

    return found._replace(
        key=keeping.kept(found.key, grid),
        value=keeping.kept(found.value, grid),
        mask=thinned(found.mask),
        places=found.places and found.places._replace(numbers=keeping.thinned(found.places.numbers, grid, axis=-1)),
        subject=thinned(found.subject),
    )


def given_statistics(references: Sequence[Weighted[Features]]) -> GivenStatistics:
    """Those that targets of the references are aligned to."""
    weights = [each.weight for each in references]
    every = [each.features for each in references]
    return (
        mixed([each.query_statistics for each in every], weights),
        mixed([each.key_statistics for each in every], weights),
        mixed([each.value_statistics for each in every], weights),
    )


def align(own: Projections, given: GivenStatistics, strength: float = 1.0) -> Projections:
    """The targets' projections with the references' statistics, where there are some."""
    each = zip(own, given, strict=True)
    return Projections(*(x if stats is None else adain(x, stats, strength) for x, stats in each))


def extensions(
    references: Sequence[Weighted[Features]], settings: SharingSettings, own_tokens: int, like: Tensor
) -> list[Extension]:
    """What targets with `own_tokens` tokens of their image attend to, of the device and dtype of `like`."""
    found = []
    for number, each in enumerate(references):
        given, mask = each.features, each.features.mask
        bias = settings.reference_bias + math.log(each.weight) + math.log(own_tokens / given.key.shape[-2])
        subject = None if given.subject is None else given.subject[0].to(like.device)
        whole = Extension(given.key.to(like), given.value.to(like), bias, None, given.places, subject, number)
        if mask is None:
            found.append(whole)
        elif len(chosen := mask[0].nonzero().flatten()):
            found.append(_part_of(whole, chosen, mask[0, chosen]))
    return found


def _part_of(whole: Extension, chosen: Tensor, counts: Tensor) -> Extension:
    """The tokens chosen of a reference, each of which counts so much; both on the CPU."""
    on_device = chosen.to(whole.key.device)
    return whole._replace(
        key=whole.key.index_select(-2, on_device),
        value=whole.value.index_select(-2, on_device),
        counts=None if bool((counts == 1.0).all()) else counts.to(whole.key.device),
        places=whole.places and whole.places.picked(chosen),
        subject=None if whole.subject is None else whole.subject[on_device],
    )


def share(
    aligned: Projections, references: Sequence[Extension], scale: float, attend: Attention, mask: Tensor | None = None
) -> Tensor:
    """Targets attend to [own ; references'] tokens.

    aligned: the targets' projections from `align`, (chunks, targets, ..., tokens, channels). scale: of the references'
    keys. mask: what the model itself adds to the logits of the targets' own tokens, (rows or 1, heads or 1, tokens or
    1, tokens). Returns the shape of the queries.
    """
    if not all(each.is_plain for each in references) and not attend.takes_bias:
        own = attended(attend, aligned, mask)
        return share_beside(own, aligned, references, scale, attend, mask)
    both = Projections(
        aligned.query,
        extended(aligned.key, [scaled(each.key, scale) for each in references]),
        extended(aligned.value, [each.value for each in references]),
    )
    return attended(attend, both, extended_mask(mask, aligned.key, references))
