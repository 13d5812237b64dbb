"""Shared attention as a mean of attentions to own tokens and to those of references, weighted by their mass."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .attending import (
    Attention,
    Extension,
    Projections,
    attended,
    counts_of,
    extended,
    extended_mask,
    for_targets,
    scaled,
)


def share_beside(
    own_output: Tensor,
    aligned: Projections,
    references: Sequence[Extension],
    scale: float,
    attend: Attention,
    mask: Tensor | None = None,
) -> Tensor:
    """What `sharing.share` gives, where the targets' attention to themselves is at hand (`own_output`).

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
    key = torch.cat([for_targets(scaled(each.key, scale), aligned) for each in group], -2)
    if all(each.counts is None for each in group):
        value = torch.cat([for_targets(each.value, aligned) for each in group], -2)
        return attended(attend, Projections(aligned.query, key, value))
    value = torch.cat([for_targets(each.value * counts_of(each), aligned) for each in group], -2)
    total = torch.cat([for_targets(counts_of(each) * torch.ones_like(each.value), aligned) for each in group], -2)
    out = attended(attend, Projections(aligned.query, key, value))
    return out / attended(attend, Projections(aligned.query, key, total))


def _masses(
    aligned: Projections, groups: Sequence[Sequence[Extension]], scale: float, attend: Attention, mask: Tensor | None
) -> list[Tensor]:
    """The share of the softmax's mass that own tokens and each group of references have without any bias.

    One of them, the least raised by its bias, is what the others leave, but where tokens count otherwise than as one.
    """
    every = [each for group in groups for each in group]
    key = extended(aligned.key, [scaled(each.key, scale) for each in every])
    plain_mask = extended_mask(mask, aligned.key, [each._replace(bias=0.0, counts=None) for each in every])

    def mass(part: int) -> Tensor:
        own = torch.full_like(aligned.value, float(part == 0))
        others = [
            counts_of(each) * torch.full_like(each.value, float(part == number))
            for number, group in enumerate(groups, 1)
            for each in group
        ]
        out = attended(attend, Projections(aligned.query, key, extended(own, others)), plain_mask)
        return out.to(torch.promote_types(out.dtype, torch.float32))

    biases = [0.0, *(group[0].bias for group in groups)]
    all_count = all(each.counts is None for each in every)
    least = min(range(len(biases)), key=biases.__getitem__) if all_count else None
    known = {part: mass(part) for part in range(len(biases)) if part != least}
    if least is not None:
        known[least] = (1.0 - torch.stack([*known.values()]).sum(0)).clamp_min(0.0)
    return [known[part] for part in range(len(biases))]


def _weights(biases: Sequence[float], masses: Sequence[Tensor]) -> list[Tensor]:
    """Each part's share of the mass with its bias. All factors are at most 1, so that nothing overflows."""
    raised = [mass * math.exp(bias - max(biases)) for bias, mass in zip(biases, masses, strict=True)]
    total = torch.stack(raised).sum(0)
    return [each / total for each in raised]
