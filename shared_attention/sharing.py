"""Shared attention (section 3.2 of the paper, equations 2 to 4): targets attend to themselves and to their reference.

    Q^ = AdaIN(Q_t, Q_r)    K^ = AdaIN(K_t, K_r)
    out = softmax(Q^ [K^ ; scale * K_r]^T / sqrt(d) + [0 ; shift]) [V_t ; V_r]

With a strength a below 1, AdaIN is mixed in by a and the softmax's mass on the reference is weighted by a: the shift
becomes shift + ln a.

Of several references r with weights w_r, each adds its keys and values, and their statistics are averaged:

    shift_r = shift + ln a + ln w_r + ln(N_t / N_r)        AdaIN to sum_r w_r (mean_r, std_r) / sum_r w_r

N are numbers of tokens: a picture counts the same at every size.

Tensors are (chunks, images, ..., tokens, channels): where a model needs its heads apart they come before the tokens,
else they lie side by side in the channels, as AdaIN treats each channel on its own. A reference has one image a chunk.
Where its features come from is the caller's business.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from .adain import Statistics, adain, mixed, statistics
from .sources import Weighted


class Projections(NamedTuple):
    """The projected queries, keys and values of a self-attention."""

    query: Tensor
    key: Tensor
    value: Tensor


GivenStatistics = tuple[Statistics | None, Statistics | None, Statistics | None]
"""What queries, keys and values are aligned to; None where they are not."""


class Features(NamedTuple):
    """What targets read of a reference in one layer: its keys and values, and statistics for AdaIN where it is on."""

    key: Tensor
    value: Tensor
    query_statistics: Statistics | None = None
    key_statistics: Statistics | None = None
    value_statistics: Statistics | None = None


class Extension(NamedTuple):
    """The tokens of a reference as targets attend to them besides their own: (chunks, 1, ..., tokens, channels).

    bias: what is added to their logits.
    """

    key: Tensor
    value: Tensor
    bias: float = 0.0


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
    return [
        Extension(
            each.features.key.to(like),
            each.features.value.to(like),
            settings.reference_bias + math.log(each.weight) + math.log(own_tokens / each.features.key.shape[-2]),
        )
        for each in references
    ]


def share(
    aligned: Projections, references: Sequence[Extension], scale: float, attend: Attention, mask: Tensor | None = None
) -> Tensor:
    """Targets attend to [own ; references'] tokens.

    aligned: the targets' projections from `align`, (chunks, targets, ..., tokens, channels). scale: of the references'
    keys. mask: what the model itself adds to the logits of the targets' own tokens, (rows or 1, heads or 1, tokens or
    1, tokens). Returns the shape of the queries.
    """
    if any(each.bias != 0.0 for each in references) and not attend.takes_bias:
        own = _attend(attend, aligned, mask)
        return share_beside(own, aligned, references, scale, attend, mask)
    both = Projections(
        aligned.query,
        _extend(aligned.key, [_scaled(each.key, scale) for each in references]),
        _extend(aligned.value, [each.value for each in references]),
    )
    return _attend(attend, both, _extend_mask(mask, aligned.key, references))


def share_beside(
    own_output: Tensor,
    aligned: Projections,
    references: Sequence[Extension],
    scale: float,
    attend: Attention,
    mask: Tensor | None = None,
) -> Tensor:
    """The same, where the targets' attention to themselves has been computed elsewhere (`own_output`).

    Shared attention is the mean of the attentions to the targets' own tokens and to those of each group of references
    with one bias, weighted by the softmax's mass:

        out = sum_g m_g e^bias_g out_g / sum_g m_g e^bias_g,    own tokens a group too, of bias 0

    m_g, the mass without any bias, is what `attend` itself gives for values of one in the group and zero elsewhere. So
    no logits are held, no bias is needed, and whatever kernel attends is in use throughout. Where `own_output` is plain
    attention of `aligned`, this equals `share`.
    """
    groups = _by_bias(references)
    outputs = [own_output, *(_attend_alone(group, aligned, scale, attend) for group in groups)]
    weights = _weights([0.0, *(group[0].bias for group in groups)], _masses(aligned, groups, scale, attend, mask))
    if len(outputs) == 2:
        return torch.lerp(own_output, outputs[1], weights[1].to(own_output.dtype))
    return torch.stack([out * weight for out, weight in zip(outputs, weights, strict=True)]).sum(0).to(own_output.dtype)


def _by_bias(references: Sequence[Extension]) -> list[list[Extension]]:
    biases = dict.fromkeys(each.bias for each in references)
    return [[each for each in references if each.bias == bias] for bias in biases]


def _attend_alone(group: Sequence[Extension], aligned: Projections, scale: float, attend: Attention) -> Tensor:
    """The targets' attention to the tokens of the group and to no others."""
    key = torch.cat([_for_targets(_scaled(each.key, scale), aligned) for each in group], -2)
    value = torch.cat([_for_targets(each.value, aligned) for each in group], -2)
    return _attend(attend, Projections(aligned.query, key, value))


def _masses(
    aligned: Projections, groups: Sequence[Sequence[Extension]], scale: float, attend: Attention, mask: Tensor | None
) -> list[Tensor]:
    """The share of the softmax's mass that own tokens and each group of references have without any bias.

    One of them, the least raised by its bias, is what the others leave.
    """
    every = [each for group in groups for each in group]
    key = _extend(aligned.key, [_scaled(each.key, scale) for each in every])
    plain_mask = _extend_mask(mask, aligned.key, [each._replace(bias=0.0) for each in every])

    def mass(part: int) -> Tensor:
        own = torch.full_like(aligned.value, float(part == 0))
        others = [
            torch.full_like(each.value, float(part == number)) for number, g in enumerate(groups, 1) for each in g
        ]
        out = _attend(attend, Projections(aligned.query, key, _extend(own, others)), plain_mask)
        return out.to(torch.promote_types(out.dtype, torch.float32))

    biases = [0.0, *(group[0].bias for group in groups)]
    least = min(range(len(biases)), key=biases.__getitem__)
    known = {part: mass(part) for part in range(len(biases)) if part != least}
    rest = (1.0 - torch.stack([*known.values()]).sum(0)).clamp_min(0.0)
    return [known.get(part, rest) for part in range(len(biases))]


def _weights(biases: Sequence[float], masses: Sequence[Tensor]) -> list[Tensor]:
    """Each part's share of the mass with its bias. All factors are at most 1, so that nothing overflows."""
    raised = [mass * math.exp(bias - max(biases)) for bias, mass in zip(biases, masses, strict=True)]
    total = torch.stack(raised).sum(0)
    return [each / total for each in raised]


def _attend(attend: Attention, x: Projections, bias: Tensor | None = None) -> Tensor:
    out = attend(x.query.flatten(0, 1), x.key.flatten(0, 1), x.value.flatten(0, 1), bias)
    return out.reshape(x.query.shape)


def _scaled(key: Tensor, scale: float) -> Tensor:
    return key if scale == 1.0 else scale * key


def _extend(own: Tensor, references: Sequence[Tensor]) -> Tensor:
    """[own ; references'] tokens for every target."""
    return torch.cat([own, *(each.expand(-1, own.shape[1], *each.shape[2:]) for each in references)], dim=-2)


def _for_targets(reference: Tensor, aligned: Projections) -> Tensor:
    return reference.expand(-1, aligned.query.shape[1], *reference.shape[2:])


def _extend_mask(mask: Tensor | None, own_key: Tensor, references: Sequence[Extension]) -> Tensor | None:
    """The model's own mask with the references' columns behind it: (1 or more, 1 or more, 1 or more, all tokens).

    A softmax sees only differences, and some kernels subtract the row's maximum before they add the mask: a positive
    bias could overflow there, so the highest lowers all other tokens instead of raising its own.
    """
    if mask is None and all(each.bias == 0.0 for each in references):
        return None
    highest = max(0.0, *(each.bias for each in references))
    own = own_key.new_zeros(1, 1, 1, own_key.shape[-2]) if mask is None else mask
    columns = [own.new_full((*own.shape[:-1], each.key.shape[-2]), each.bias - highest) for each in references]
    return torch.cat([own - highest, *columns], dim=-1)
