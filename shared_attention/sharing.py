"""Shared attention (section 3.2 of the paper, equations 2 to 4): targets attend to themselves and to their reference.

    Q^ = AdaIN(Q_t, Q_r)    K^ = AdaIN(K_t, K_r)
    out = softmax(Q^ [K^ ; scale * K_r]^T / sqrt(d) + [0 ; shift]) [V_t ; V_r]

Tensors are (chunks, images, tokens, channels): the channels of all heads side by side, as AdaIN treats each channel on
its own. A reference has one image a chunk. Where its features come from is the caller's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from .adain import adain


class Projections(NamedTuple):
    """The projected queries, keys and values of a self-attention."""

    query: Tensor
    key: Tensor
    value: Tensor


@dataclass(frozen=True)
class SharingSettings:
    """How targets attend to their reference; the defaults are the paper's text-to-image settings.

    scale multiplies the reference's keys (the authors' shared_score_scale). shift is added to the logits of the
    reference's tokens (shared_score_shift): ln 2 counts each of them twice. share_group_norm takes group norms'
    statistics over a target and its reference together. The adain_ flags choose the projections that AdaIN aligns.
    """

    scale: float = 1.0
    shift: float = 0.0
    share_group_norm: bool = False
    adain_queries: bool = True
    adain_keys: bool = True
    adain_values: bool = False


class Attention(Protocol):
    """Softmax attention over heads: (rows, tokens, channels) each, `bias` (1, 1, 1, key tokens) added to the logits."""

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor: ...


def align(own: Projections, reference: Projections, settings: SharingSettings) -> Projections:
    """The targets' projections with the reference's statistics, where the settings ask for AdaIN."""
    return Projections(
        adain(own.query, reference.query) if settings.adain_queries else own.query,
        adain(own.key, reference.key) if settings.adain_keys else own.key,
        adain(own.value, reference.value) if settings.adain_values else own.value,
    )


def share(aligned: Projections, reference: Projections, settings: SharingSettings, attend: Attention) -> Tensor:
    """Targets attend to [own ; reference] tokens.

    aligned: the targets' projections from `align`, (chunks, targets, tokens, channels). reference: (chunks, 1, tokens',
    channels). attend: the attention to use. Returns (chunks, targets, tokens, channels).
    """
    value = _extend(aligned.value, reference.value)
    return _attend_to_both(aligned, reference, value, settings, attend)


def share_beside(
    own_output: Tensor, aligned: Projections, reference: Projections, settings: SharingSettings, attend: Attention
) -> Tensor:
    """The same, where the targets' attention to themselves has been computed elsewhere (`own_output`).

    Shared attention is the mean of both attentions, weighted by the softmax's mass on own and on reference tokens:

        out = w * own_output + (1 - w) * attention(Q^, K_r, V_r)

    Values of one and of zero let `attend` itself compute w and the second term, so no logits are held here. Where
    `own_output` is plain attention of `aligned`, this equals `share`.
    """
    ones, zeros = torch.ones_like(aligned.value), torch.zeros_like(aligned.value)
    own_mass = _extend(ones, torch.zeros_like(reference.value))
    from_reference = _extend(zeros, reference.value)
    own_weight = _attend_to_both(aligned, reference, own_mass, settings, attend)
    return own_weight * own_output + _attend_to_both(aligned, reference, from_reference, settings, attend)


def _attend_to_both(
    aligned: Projections, reference: Projections, value: Tensor, settings: SharingSettings, attend: Attention
) -> Tensor:
    reference_key = reference.key if settings.scale == 1.0 else settings.scale * reference.key
    key = _extend(aligned.key, reference_key)
    bias = _reference_bias(settings.shift, aligned.key, reference.key)
    out = attend(aligned.query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), bias)
    return out.reshape(aligned.query.shape)


def _extend(own: Tensor, reference: Tensor) -> Tensor:
    """[own ; reference] tokens for every target."""
    return torch.cat([own, reference.expand(-1, own.shape[1], -1, -1)], dim=-2)


def _reference_bias(shift: float, own_key: Tensor, reference_key: Tensor) -> Tensor | None:
    """The logits' shift as a mask that broadcasts over rows, heads and queries: (1, 1, 1, tokens + tokens').

    A softmax sees only differences, and some kernels subtract the row's maximum before they add the mask: a positive
    bias could overflow there, so a positive shift lowers the own tokens instead of raising the reference's.
    """
    if shift == 0.0:
        return None
    own, reference = own_key.shape[-2], reference_key.shape[-2]
    bias = own_key.new_zeros(1, 1, 1, own + reference)
    bias[..., :own], bias[..., own:] = min(-shift, 0.0), min(shift, 0.0)
    return bias
