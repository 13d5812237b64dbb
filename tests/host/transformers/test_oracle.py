"""The oracles themselves: without sharing each is the host's own model, and they know which tokens are the image's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from joint_oracle import JointAttention, JointOracle, Sharing
from oracles import Layout, relative_error, shared_attention
from positions import Rope, Tokens
from runs import run, variants
from torch import Tensor
from variant import Variant

pytestmark = pytest.mark.thorough


@pytest.mark.parametrize("variant", variants(), indirect=True)
def test_without_sharing_it_is_the_plain_model(variant: Variant) -> None:
    plain, oracle = run(variant.model(torch.float64), variant), run(JointOracle(variant).patcher, variant)

    assert relative_error(oracle, plain) < 1e-6


class Watched(JointOracle):
    """Keeps what the first joint attention gets: its queries and where the image is in them."""

    first: tuple[Tensor, Tokens] | None = None

    def _rows(self, query: Tensor, *args: Tensor) -> Tensor:
        self.first = self.first or (query, self.variant.tokens(self.unet, self.latent, query.shape[2]))
        return super()._rows(query, *args)


@pytest.mark.parametrize("variant", variants(), indirect=True)
def test_image_tokens_are_those_that_change_with_the_latent(variant: Variant) -> None:
    queries = []
    for seed in (7, 70):
        oracle = Watched(variant)
        run(oracle.patcher, variant, images=1, cfg=1.0, initial=variant.noise(1, seed))
        query, tokens = oracle.first
        queries.append(query[0])

    changed = (queries[0] != queries[1]).any(-1).any(0)
    if variant.name.startswith("z_image"):
        # The padding behind the image has been refined together with it.
        changed = changed[: tokens.image.stop]
    assert changed.nonzero().flatten().tolist() == list(range(tokens.image.start, tokens.image.stop))


@pytest.mark.parametrize("variant", variants(rotary=True), indirect=True)
def test_image_is_as_wide_as_its_positions(variant: Variant) -> None:
    oracle = Watched(variant)
    run(oracle.patcher, variant, images=1, cfg=1.0)
    _, tokens = oracle.first

    along_x = tokens.positions[tokens.image, variant.rope(oracle.unet).spatial[-1]].unique()
    assert len(along_x) == tokens.width
    torch.testing.assert_close(along_x.diff(), torch.full_like(along_x[1:], tokens.step))


@pytest.mark.parametrize(
    "options", [{}, {"scale": 0.7, "shift": 0.5, "adain_queries": False, "adain_values": True}], ids=["default", "set"]
)
def test_of_image_tokens_alone_it_is_the_unets_oracle(options: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(1)
    query, key, value = torch.randn(3, 2, 2, 9, 4, generator=generator, dtype=torch.float64)

    joint = JointAttention(Tokens(slice(0, 9), 3), rope=None)
    target, reference = ([x[row] for x in (query, key, value)] for row in (1, 0))
    actual = joint.of_target(target, reference, torch.zeros(1, 1, 9), Sharing(**options))

    flat = (x.transpose(1, 2).flatten(2) for x in (query, key, value))
    expected = shared_attention(*flat, 2, Layout(1, 2), **options)
    torch.testing.assert_close(actual.transpose(0, 1).flatten(1), expected[1])


def test_scores_depend_on_the_distance_of_positions_alone() -> None:
    rope = Rope.of_axes((2, 4, 6))
    query, key = torch.randn(2, 1, 5, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    positions = torch.rand(5, 3, dtype=torch.float64)

    def scores(offset: float) -> Tensor:
        return rope.rotate(query, positions + offset) @ rope.rotate(key, positions + offset).mT

    torch.testing.assert_close(scores(0.0), scores(3.7))
