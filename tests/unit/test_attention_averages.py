"""What was seen in many layers as one map for each target."""

from __future__ import annotations

import pytest
import torch
from style_aligned.shared_attention.attention_map.averaging import averaged, looked_up
from style_aligned.shared_attention.attention_map.looking import FINEST, Seen
from style_aligned.shared_attention.attention_map.recording import Look, RunLooks
from style_aligned.shared_attention.layers import LayerSelection
from style_aligned.shared_attention.places import region_of
from torch import Tensor

ALL = LayerSelection.parse("all")


def seen(mass: Tensor, regions: tuple[int, int], tokens: tuple[int, int], reference: int = 0) -> Seen:
    """Of targets whose mass (targets, rows, columns) is spread evenly over the tokens of a reference."""
    counts = [
        torch.bincount(region_of(torch.arange(side), side, cells)) / side
        for side, cells in zip(tokens, regions, strict=True)
    ]
    return Seen(reference, mass, mass[..., None, None] * counts[0][:, None] * counts[1], tokens)


def run_of(*looks: Look) -> RunLooks:
    return RunLooks(3, looks=list(looks))


@pytest.mark.parametrize("regions", [(5, 6), (3, 1), (7, 8)])
def test_an_even_look_is_even_on_every_field(regions: tuple[int, int]) -> None:
    """Also where regions have unlike numbers of tokens."""
    mass = torch.full((2, 4, 4), 0.4)
    maps = averaged(run_of(Look(("input", 1), 0.0, (1, 2), (seen(mass, regions, (8, 8)),))), ALL, 0.0, 1.0)
    for target in maps.of_targets.values():
        assert torch.allclose(target.mass, torch.full((1, 4, 4), 0.4))
        assert torch.allclose(target.places, torch.full((1, 4, 4, FINEST, FINEST), 0.4 / FINEST**2), atol=1e-6)


def test_every_look_counts_the_same_at_the_size_of_the_finest() -> None:
    coarse, fine = torch.full((2, 2, 2), 0.2), torch.full((2, 4, 6), 0.6)
    fine[1] = 0.4
    run = run_of(
        Look(("input", 1), 0.0, (1, 2), (seen(fine, (2, 2), (4, 6)),)),
        Look(("middle", 0), 0.5, (1, 2), (seen(coarse, (2, 2), (2, 2)),)),
    )
    maps = averaged(run, ALL, 0.0, 1.0)
    assert torch.allclose(maps.of_targets[1].mass, torch.full((1, 4, 6), 0.4))
    assert torch.allclose(maps.of_targets[2].mass, torch.full((1, 4, 6), 0.3))
    assert maps.by_layer == pytest.approx({("input", 1): 0.5, ("middle", 0): 0.2})
    assert maps.by_progress == pytest.approx({0.0: 0.5, 0.5: 0.2})
    late = averaged(run, ALL, 0.4, 1.0)
    assert torch.allclose(late.of_targets[1].mass, torch.full((1, 2, 2), 0.2))
    assert averaged(run, LayerSelection.parse("input"), 0.0, 1.0).by_layer == pytest.approx({("input", 1): 0.5})


def test_targets_that_were_in_other_calls() -> None:
    """Windows over the batch, and lines one by one."""
    one, other = torch.full((1, 2, 2), 0.3), torch.full((1, 2, 2), 0.7)
    run = run_of(
        Look(("input", 1), 0.0, (1,), (seen(one, (2, 2), (2, 2)),)),
        Look(("input", 1), 0.0, (2,), (seen(other, (2, 2), (2, 2)),)),
    )
    maps = averaged(run, ALL, 0.0, 1.0).of_targets
    assert [float(maps[number].mass.mean()) for number in (1, 2)] == pytest.approx([0.3, 0.7])


def test_a_reference_of_which_layers_had_no_token() -> None:
    """Its mask leaves none of a thinned one there: nothing of it is seen, and the other has all that it has."""
    fine, coarse = torch.full((1, 4, 4), 0.3), torch.full((1, 2, 2), 0.5)
    run = run_of(
        Look(("input", 1), 0.0, (1,), (seen(fine, (2, 2), (4, 4), 1),)),
        Look(("middle", 0), 0.0, (1,), (seen(coarse, (2, 2), (2, 2), 1),)),
    )
    target = averaged(run, ALL, 0.0, 1.0).of_targets[1]
    assert torch.equal(target.mass[0], torch.zeros(4, 4))
    assert torch.allclose(target.mass[1], torch.full((4, 4), 0.4))
    both = run_of(run.looks[0], Look(("middle", 0), 0.0, (1,), (seen(coarse, (2, 2), (2, 2), 0), *run.looks[1].seen)))
    mass = averaged(both, ALL, 0.0, 1.0).of_targets[1].mass
    assert torch.allclose(mass, torch.stack([torch.full((4, 4), 0.25), torch.full((4, 4), 0.4)]))


def test_a_part_of_a_target_is_looked_up() -> None:
    """The left half looked at the left column of the reference, the right half at nothing."""
    places = torch.zeros(1, 2, 4, 2, 2)
    places[:, :, :2, :, 0] = 0.25
    run = run_of(Look(("input", 1), 0.0, (1,), (Seen(0, places.sum((-1, -2)), places, (2, 2)),)))
    target = averaged(run, ALL, 0.0, 1.0).of_targets[1]
    left = torch.zeros(8, 8)
    left[:, :4] = 1.0
    found = looked_up(target, left)
    assert float(found.sum()) == pytest.approx(0.5)
    assert float(found[0, :, FINEST // 2 :].sum()) == 0.0
    assert float(looked_up(target, 1 - left).sum()) == 0.0
    with pytest.raises(ValueError, match="black everywhere"):
        looked_up(target, torch.zeros(4, 4))


def test_steps_that_were_not_recorded() -> None:
    run = run_of(Look(("input", 1), 0.25, (1,), (seen(torch.ones(1, 2, 2), (2, 2), (2, 2)),)))
    with pytest.raises(ValueError, match=r"between start_percent 0\.5 and end_percent 1\. It was at 0\.25"):
        averaged(run, ALL, 0.5, 1.0)
