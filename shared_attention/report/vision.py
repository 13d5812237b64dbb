"""What a vision model sees: the similarity of two pictures' contents, and of their styles."""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import layer_norm, normalize


class Seen(NamedTuple):
    """A vision model's reading of one picture. Pictures of other sizes may have other numbers of tokens."""

    embedding: Tensor  # (channels,): of the whole picture
    tokens: Tensor  # (tokens, channels): of its patches, hidden states of a late layer


def content_similarities(seen: list[Seen]) -> Tensor:
    """The cosines of the embeddings: (pictures, pictures), -1 to 1."""
    rows = [normalize(each.embedding.float(), dim=0) for each in seen]
    found = seen[0].embedding.new_ones(len(seen), len(seen), dtype=rows[0].dtype)
    for one in range(len(seen)):
        for other in range(one):
            found[one, other] = found[other, one] = rows[one] @ rows[other]
    return found.clamp(-1, 1)


def style_similarities(seen: list[Seen]) -> Tensor:
    """The cosines of the tokens' covariances: (pictures, pictures), 0 to 1.

    Which features go together, without where (Gatys et al. 2016, whose Gram matrices of features these are, of features
    less their mean). Each token is normalised over its channels first, as the model's next layer would do, or a few
    tokens of huge values would decide alone.
    """
    styles = [_centred(each.tokens.float()) for each in seen]
    found = styles[0].new_ones(len(seen), len(seen))
    lengths = [_inner(style, style).sqrt() for style in styles]
    for one in range(len(seen)):
        for other in range(one):
            length = (lengths[one] * lengths[other]).clamp_min(1e-12)
            found[one, other] = found[other, one] = _inner(styles[one], styles[other]) / length
    return found.clamp(0, 1)


def _centred(tokens: Tensor) -> Tensor:
    """Normalised over channels, less the mean over tokens, and divided so that x^T x is the covariance."""
    tokens = layer_norm(tokens, [tokens.shape[-1]])
    return (tokens - tokens.mean(0)) / sqrt(len(tokens))


def _inner(one: Tensor, other: Tensor) -> Tensor:
    """<x^T x, y^T y> = |x y^T|^2: of two covariances, neither of which is ever held."""
    products = one @ other.T
    total: Tensor = products.square().sum()
    return total
