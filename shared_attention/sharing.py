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
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from .adain import Statistics, adain, mixed, statistics, weighted_statistics
from .keeping import Keeping
from .sources import Weighted


class Projections(NamedTuple):
    """The projected queries, keys and values of a self-attention."""

    query: Tensor
    key: Tensor
    value: Tensor


GivenStatistics = tuple[Statistics | None, Statistics | None, Statistics | None]
"""What queries, keys and values are aligned to; None where they are not."""


class Features(NamedTuple):
    """What targets read of a reference in one layer: its keys and values, and statistics for AdaIN where it is on.

    mask: how much each token counts, (chunks, tokens) alike in all chunks; None where all count fully.
    """

    key: Tensor
    value: Tensor
    query_statistics: Statistics | None = None
    key_statistics: Statistics | None = None
    value_statistics: Statistics | None = None
    mask: Tensor | None = None


class Extension(NamedTuple):
    """The tokens of a reference as targets attend to them besides their own: (chunks, 1, ..., tokens, channels).

    bias: what is added to their logits. counts: of each token, (tokens,) above 0, by which it counts besides.
    """

    key: Tensor
    value: Tensor
    bias: float = 0.0
    counts: Tensor | None = None

    @property
    def is_plain(self) -> bool:
        """Whether its tokens are like the targets' own."""
        return self.bias == 0.0 and self.counts is None


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


def features(reference: Projections, settings: SharingSettings, mask: Tensor | None = None) -> Features:
    """The features of a reference whose projections are at hand; mask: how much each token counts, (tokens,)."""

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
    )


def kept(found: Features, keeping: Keeping, grid: Sequence[int] | None) -> Features:
    """The features as a bank keeps them; grid: of the reference's tokens."""
    mask = None if found.mask is None else keeping.thinned(found.mask, grid, axis=-1)
    return found._replace(key=keeping.kept(found.key, grid), value=keeping.kept(found.value, grid), mask=mask)


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
    for each in references:
        key, value, mask = each.features.key, each.features.value, each.features.mask
        bias = settings.reference_bias + math.log(each.weight) + math.log(own_tokens / key.shape[-2])
        if mask is None:
            found.append(Extension(key.to(like), value.to(like), bias))
        elif len(chosen := mask[0].nonzero().flatten()):
            key, value = (x.index_select(-2, chosen.to(x.device)).to(like) for x in (key, value))
            counts = mask[0, chosen].to(like.device)
            found.append(Extension(key, value, bias, None if bool((counts == 1.0).all()) else counts))
    return found


def share(
    aligned: Projections, references: Sequence[Extension], scale: float, attend: Attention, mask: Tensor | None = None
) -> Tensor:
    """Targets attend to [own ; references'] tokens.

    aligned: the targets' projections from `align`, (chunks, targets, ..., tokens, channels). scale: of the references'
    keys. mask: what the model itself adds to the logits of the targets' own tokens, (rows or 1, heads or 1, tokens or
    1, tokens). Returns the shape of the queries.
    """
    if not all(each.is_plain for each in references) and not attend.takes_bias:
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

    m_g, the mass without any bias, is what `attend` itself gives for values of one in the group and zero elsewhere; of
    tokens that count otherwise, for values of so much. So no logits are held, no bias is needed, and whatever kernel
    attends is in use throughout. Where `own_output` is plain attention of `aligned`, this equals `share`.
    """
    groups = _by_bias(references)
    if not groups:
        return own_output
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
    if all(each.counts is None for each in group):
        value = torch.cat([_for_targets(each.value, aligned) for each in group], -2)
        return _attend(attend, Projections(aligned.query, key, value))
    value = torch.cat([_for_targets(each.value * _counts(each), aligned) for each in group], -2)
    total = torch.cat([_for_targets(_counts(each).expand_as(each.value), aligned) for each in group], -2)
    out = _attend(attend, Projections(aligned.query, key, value))
    return out / _attend(attend, Projections(aligned.query, key, total))


def _masses(
    aligned: Projections, groups: Sequence[Sequence[Extension]], scale: float, attend: Attention, mask: Tensor | None
) -> list[Tensor]:
    """The share of the softmax's mass that own tokens and each group of references have without any bias.

    One of them, the least raised by its bias, is what the others leave, but where tokens count otherwise than as one.
    """
    every = [each for group in groups for each in group]
    key = _extend(aligned.key, [_scaled(each.key, scale) for each in every])
    plain_mask = _extend_mask(mask, aligned.key, [each._replace(bias=0.0, counts=None) for each in every])

    def mass(part: int) -> Tensor:
        own = torch.full_like(aligned.value, float(part == 0))
        others = [
            _counts(each) * torch.full_like(each.value, float(part == number))
            for number, group in enumerate(groups, 1)
            for each in group
        ]
        out = _attend(attend, Projections(aligned.query, key, _extend(own, others)), plain_mask)
        return out.to(torch.promote_types(out.dtype, torch.float32))

    biases = [0.0, *(group[0].bias for group in groups)]
    all_count = all(each.counts is None for each in every)
    least = min(range(len(biases)), key=biases.__getitem__) if all_count else None
    known = {part: mass(part) for part in range(len(biases)) if part != least}
    if least is not None:
        known[least] = (1.0 - torch.stack([*known.values()]).sum(0)).clamp_min(0.0)
    return [known[part] for part in range(len(biases))]


def _counts(each: Extension) -> Tensor:
    """(tokens or 1, 1), in the dtype of the values."""
    return each.value.new_ones(1, 1) if each.counts is None else each.counts.to(each.value)[:, None]


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
    if mask is None and all(each.is_plain for each in references):
        return None
    highest = max([0.0, *(each.bias for each in references)])
    own = own_key.new_zeros(1, 1, 1, own_key.shape[-2]) if mask is None else mask
    columns = [own.new_full((*own.shape[:-1], each.key.shape[-2]), each.bias - highest) for each in references]
    for column, each in zip(columns, references, strict=True):
        if each.counts is not None:
            column += each.counts.log().to(column)
    return torch.cat([own - highest, *columns], dim=-1)
