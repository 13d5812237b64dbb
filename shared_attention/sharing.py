"""Shared attention (section 3.2 of the paper, equations 2 to 4): targets attend to themselves and to their reference.

    Q^ = AdaIN(Q_t, Q_r)    K^ = AdaIN(K_t, K_r)
    out = softmax(Q^ [K^ ; scale * K_r]^T / sqrt(d) + [0 ; shift]) [V_t ; V_r]

With a strength a below 1, AdaIN is mixed in by a and the softmax's mass on the reference is weighted by a: the shift
becomes shift + ln a.

Tensors are (chunks, images, ..., tokens, channels): where a model needs its heads apart they come before the tokens,
else they lie side by side in the channels, as AdaIN treats each channel on its own. A reference has one image a chunk.
Where its features come from is the caller's business.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from .adain import Statistics, adain, statistics


class Projections(NamedTuple):
    """The projected queries, keys and values of a self-attention."""

    query: Tensor
    key: Tensor
    value: Tensor


class Features(NamedTuple):
    """What targets read of a reference in one layer: its keys and values, and statistics for AdaIN where it is on."""

    key: Tensor
    value: Tensor
    query_statistics: Statistics | None = None
    key_statistics: Statistics | None = None
    value_statistics: Statistics | None = None

    @property
    def statistics(self) -> tuple[Statistics | None, Statistics | None, Statistics | None]:
        """Those of queries, keys and values."""
        return self.query_statistics, self.key_statistics, self.value_statistics


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


class Attention(Protocol):
    """Softmax attention: (rows, ..., tokens, channels) each, `bias` broadcasting over the logits and added to them."""

    @property
    def takes_bias(self) -> bool:
        """Whether a bias acts in this kernel, at no great cost."""
        ...

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor: ...


def features(reference: Projections, settings: SharingSettings) -> Features:
    """The features of a reference whose projections are at hand."""
    return Features(
        reference.key,
        reference.value,
        statistics(reference.query) if settings.adain_queries else None,
        statistics(reference.key) if settings.adain_keys else None,
        statistics(reference.value) if settings.adain_values else None,
    )


def align(own: Projections, reference: Features, strength: float = 1.0) -> Projections:
    """The targets' projections with the reference's statistics, where it has some."""
    each = zip(own, reference.statistics, strict=True)
    return Projections(*(x if stats is None else adain(x, stats, strength) for x, stats in each))


def share(
    aligned: Projections, reference: Features, settings: SharingSettings, attend: Attention, mask: Tensor | None = None
) -> Tensor:
    """Targets attend to [own ; reference] tokens.

    aligned: the targets' projections from `align`, (chunks, targets, ..., tokens, channels). reference: its keys and
    values (chunks, 1, ..., tokens', channels). mask: what the model itself adds to the logits of the targets' own
    tokens, (rows or 1, heads or 1, tokens or 1, tokens). Returns the shape of the queries.
    """
    bias = settings.reference_bias
    if bias != 0.0 and not attend.takes_bias:
        own = _attend(attend, aligned, mask)
        return share_beside(own, aligned, reference, settings, attend, mask)
    both = Projections(
        aligned.query, _keys_of_both(aligned, reference, settings), _extend(aligned.value, reference.value)
    )
    return _attend(attend, both, _extend_mask(mask, bias, aligned.key, reference.key))


def share_beside(
    own_output: Tensor,
    aligned: Projections,
    reference: Features,
    settings: SharingSettings,
    attend: Attention,
    mask: Tensor | None = None,
) -> Tensor:
    """The same, where the targets' attention to themselves has been computed elsewhere (`own_output`).

    Shared attention is the mean of the attentions to own and to reference tokens, weighted by the softmax's mass:

        out = (m * own_output + (1 - m) * e^shift * attention(Q^, K_r, V_r)) / (m + (1 - m) * e^shift)

    m, the mass on own tokens without a shift, is what `attend` itself gives for values of one (own) and zero
    (reference). So no logits are held, no bias is needed, and whatever kernel attends is in use throughout. Where
    `own_output` is plain attention of `aligned`, this equals `share`.
    """
    indicator = _extend(torch.ones_like(aligned.value), torch.zeros_like(reference.value))
    both = Projections(aligned.query, _keys_of_both(aligned, reference, settings), indicator)
    own_mass = _attend(attend, both, _extend_mask(mask, 0.0, aligned.key, reference.key))
    alone = Projections(
        aligned.query,
        _for_targets(_scaled(reference.key, settings.scale), aligned),
        _for_targets(reference.value, aligned),
    )
    weight = _reference_weight(own_mass, settings.reference_bias)
    return torch.lerp(own_output, _attend(attend, alone), weight.to(own_output.dtype))


def _reference_weight(own_mass: Tensor, bias: float) -> Tensor:
    """The reference's share of the mass with `bias` on its logits, from the own tokens' share without one."""
    own = own_mass.to(torch.promote_types(own_mass.dtype, torch.float32))
    # Both factors are at most 1, so that nothing overflows.
    reference = (1.0 - own) * math.exp(min(bias, 0.0))
    return reference / (own * math.exp(min(-bias, 0.0)) + reference)


def _attend(attend: Attention, x: Projections, bias: Tensor | None = None) -> Tensor:
    out = attend(x.query.flatten(0, 1), x.key.flatten(0, 1), x.value.flatten(0, 1), bias)
    return out.reshape(x.query.shape)


def _keys_of_both(aligned: Projections, reference: Features, settings: SharingSettings) -> Tensor:
    return _extend(aligned.key, _scaled(reference.key, settings.scale))


def _scaled(key: Tensor, scale: float) -> Tensor:
    return key if scale == 1.0 else scale * key


def _extend(own: Tensor, reference: Tensor) -> Tensor:
    """[own ; reference] tokens for every target."""
    return torch.cat([own, reference.expand(-1, own.shape[1], *reference.shape[2:])], dim=-2)


def _for_targets(reference: Tensor, aligned: Projections) -> Tensor:
    return reference.expand(-1, aligned.query.shape[1], *reference.shape[2:])


def _extend_mask(mask: Tensor | None, bias: float, own_key: Tensor, reference_key: Tensor) -> Tensor | None:
    """The model's own mask with the reference's columns behind it: (1 or more, 1 or more, 1 or more, tokens + tokens').

    A softmax sees only differences, and some kernels subtract the row's maximum before they add the mask: a positive
    bias could overflow there, so a positive one lowers the own tokens instead of raising the reference's.
    """
    if mask is None and bias == 0.0:
        return None
    own = own_key.new_zeros(1, 1, 1, own_key.shape[-2]) if mask is None else mask
    columns = own.new_full((*own.shape[:-1], reference_key.shape[-2]), min(bias, 0.0))
    return torch.cat([own + min(-bias, 0.0), columns], dim=-1)
