"""Masks on UNets: against the dense oracle, on every backend, and in the ways in which batches are sampled."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from apart_references import apart
from comfy.patcher_extension import WrappersMP
from given_reference import ksampler, picture, with_reference
from masked_oracles import Given, MaskedUNet
from oracles import relative_error
from sampling import noise, rows_of, sample, shared
from style_aligned.nodes.masks import StyleAlignedMasks
from style_aligned.shared_attention.conditioning import batch_conditionings
from style_aligned.shared_attention.host import backend
from style_aligned.shared_attention.host.masks import KEY
from tiny_models import conditioning, tiny_model
from torch import Tensor

HALF = torch.zeros(16, 24)
HALF[:, 12:] = 1.0
GREY = torch.linspace(0, 1, 30 * 20).view(30, 20)
EACH = torch.stack([HALF[:, 8:], GREY[:16, :16]])
PIXEL = torch.zeros(64, 64)
PIXEL[3, 5] = 1.0
STYLES = {"half": HALF, "grey": GREY, "one pixel": PIXEL}
STRONGER = {"shift": 0.7, "scale": 0.8, "adain_values": True}


def masked(model: Any, style: Tensor | None = None, target: Tensor | None = None) -> Any:
    return StyleAlignedMasks.execute(model, style, target).result[0]


def error_of(options: dict[str, Any], style: Tensor | None, target: Tensor | None, family: str = "sd15") -> float:
    model = masked(shared(tiny_model(family), **options), style, target)
    settings = {name: value for name, value in options.items() if name != "share_group_norm"}
    of_each = None if target is None else target.view(-1, *target.shape[-2:]).expand(2, -1, -1)
    oracle = MaskedUNet(family, Given(style, of_each), settings, options.get("share_group_norm", False))
    return relative_error(sample(model, 3, steps=2), sample(oracle.patcher, 3, steps=2))


@pytest.mark.parametrize("options", [{}, STRONGER, {"strength": 0.4}], ids=str)
@pytest.mark.parametrize("style", STYLES)
def test_a_part_of_the_reference(style: str, options: dict[str, Any]) -> None:
    assert error_of(options, STYLES[style], None) < 1e-5


@pytest.mark.parametrize("target", [HALF, GREY, EACH], ids=["half", "grey", "each"])
@pytest.mark.parametrize("options", [{}, {"shift": -1.0, "adain_keys": False}], ids=str)
def test_a_part_of_the_targets(options: dict[str, Any], target: Tensor) -> None:
    assert error_of(options, None, target) < 1e-5


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
@pytest.mark.parametrize("strength", [1.0, 0.3])
def test_both_with_group_norms(strength: float, family: str) -> None:
    assert error_of({"share_group_norm": True, "strength": strength}, GREY, EACH, family) < 1e-5


@pytest.mark.parametrize("options", [{}, {"shift": 0.7, "strength": 0.5}], ids=str)
@pytest.mark.parametrize("style", STYLES)
def test_on_backends_without_a_bias(style: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "TAKE_A_MASK", frozenset())
    assert error_of(options, STYLES[style], EACH) < 1e-5


def test_it_matters() -> None:
    without = sample(shared(tiny_model("sd15")), 3)
    for given in ({"style": HALF}, {"target": HALF}):
        assert relative_error(sample(masked(shared(tiny_model("sd15")), **given), 3)[1:], without[1:]) > 1e-3


def test_white_is_no_mask_to_the_bit() -> None:
    model = shared(tiny_model("sd15"), share_group_norm=True)
    white = torch.ones(1, 9, 9)
    assert torch.equal(sample(masked(model, white, white), 3), sample(model, 3))
    assert torch.equal(sample(masked(model), 3), sample(model, 3))


def test_a_black_target_is_as_without_sharing() -> None:
    model = tiny_model("sd15")
    black = masked(shared(model, share_group_norm=True), None, torch.zeros(1, 8, 8))
    assert relative_error(sample(black, 3, steps=2), sample(model, 3, steps=2)) < 1e-5


def test_without_sharing_it_does_nothing_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    model = tiny_model("sd15")
    assert torch.equal(sample(masked(model, HALF, HALF), 3), sample(model, 3))
    assert "Masks does nothing, as attention" in caplog.text


def test_the_order_of_the_nodes_makes_no_difference() -> None:
    model = tiny_model("sd15")
    assert torch.equal(sample(masked(shared(model), GREY, EACH), 3), sample(shared(masked(model, GREY, EACH)), 3))


def test_the_settings_are_on_the_clone_alone() -> None:
    model = tiny_model("sd15")
    clone = masked(model, HALF)
    assert KEY not in model.model_options["transformer_options"]
    assert not model.get_wrappers(WrappersMP.OUTER_SAMPLE, KEY)
    later = masked(clone, GREY)
    assert torch.equal(later.model_options["transformer_options"][KEY].style.values[0], GREY)
    assert len(later.get_wrappers(WrappersMP.OUTER_SAMPLE, KEY)) == 1


def test_the_picture_of_a_mask_may_change_later() -> None:
    given = HALF.clone()
    model = masked(shared(tiny_model("sd15")), given)
    before = sample(model, 2)
    given.zero_()
    assert torch.equal(sample(model, 2), before)


@pytest.mark.parametrize("by", ["reference", "masks"])
def test_references_apart_have_it_too(by: str) -> None:
    model, of_all = shared(tiny_model("sd15"), share_group_norm=True), conditioning(3)
    held, latent = with_reference(masked(model, GREY, EACH))
    expected = ksampler(held, latent, positive=of_all)[1:]
    own, others = rows_of(of_all, slice(1)), rows_of(of_all, slice(1, None))
    targets = {"samples": latent["samples"][1:], "batch_index": [0, 1]}
    if by == "reference":
        model = apart(masked(model, None, EACH), conditioning=own, style_mask=GREY)
    else:
        model = apart(masked(model, GREY, EACH), conditioning=own)
    assert relative_error(ksampler(model, targets, positive=others), expected) < 1e-5


def test_a_references_own_mask_is_the_one_that_counts() -> None:
    model = shared(tiny_model("sd15"))
    both = sample(apart(masked(model, HALF), style_mask=GREY), 2)
    assert torch.equal(both, sample(apart(model, style_mask=GREY), 2))


@pytest.mark.parametrize("thin", ["1/4", "1/9"])
def test_a_thinned_reference_of_which_nothing_is_left_gives_its_statistics(thin: str) -> None:
    corner = torch.zeros(8, 8)
    corner[0, 0] = 1.0
    drawn = sample(apart(shared(tiny_model("sd15")), picture(5, 8, 8), thin=thin, style_mask=corner), 2)
    assert drawn.isfinite().all()


def test_lines_of_unlike_length_have_their_own_masks() -> None:
    lines = [conditioning(1, seed=10 + row, tokens=77 * (1 + row % 2)) for row in range(3)]
    model = shared(tiny_model("sd15"))
    together = sample(masked(model, GREY, EACH), 3, positive=batch_conditionings(lines, tokens_repeat=False))
    for row in (1, 2):
        pair = batch_conditionings([lines[0], lines[row]], tokens_repeat=False)
        start = noise(3)[[0, row]]
        alone = sample(masked(model, GREY, EACH[row - 1 : row]), 2, positive=pair, initial=start)
        assert relative_error(together[row], alone[1]) < 1e-5


def test_lines_of_unlike_length_go_without_for_a_part_of_the_picture() -> None:
    lines = [conditioning(1, seed=10 + row, tokens=77 * (1 + row % 2)) for row in range(3)]
    positive = batch_conditionings(lines, tokens_repeat=False)
    left = [[text, {**options, "area": (8, 4, 0, 0)}] for text, options in positive]
    model = shared(tiny_model("sd15"))
    drawn = sample(masked(model, HALF, EACH), 3, positive=left, cfg=1.0)
    assert torch.equal(drawn, sample(model, 3, positive=left, cfg=1.0))


@pytest.mark.parametrize("tokens", [(8, 8, 8), (77, 154, 77)], ids=["one call", "row by row"])
def test_masks_are_the_targets_own_beside_a_given_row_and_a_reference_apart(tokens: tuple[int, ...]) -> None:
    """In calls without the row, too: the first mask is that of the first image behind it."""
    lines = [conditioning(1, seed=10 + row, tokens=count) for row, count in enumerate(tokens)]
    positive = batch_conditionings(lines, tokens_repeat=False)
    model = apart(shared(tiny_model("sd15")))

    def drawn(target: Tensor | None) -> Tensor:
        held, latent = with_reference(model if target is None else masked(model, None, target))
        return ksampler(held, latent, positive=positive)

    first, without = drawn(torch.stack([torch.zeros(8, 8), torch.ones(8, 8)])), drawn(None)
    assert relative_error(first[1], without[1]) > 1e-3
    assert relative_error(first[2], without[2]) < 1e-5


def test_calls_for_a_part_of_the_picture_go_without(caplog: pytest.LogCaptureFixture) -> None:
    model = shared(tiny_model("sd15"))
    [[text, options]] = conditioning(3)
    left = [[text, {**options, "area": (8, 4, 0, 0)}], [text, {**options, "area": (8, 4, 0, 4)}]]
    assert torch.equal(
        sample(masked(model, HALF, HALF), 3, positive=left, cfg=1.0), sample(model, 3, positive=left, cfg=1.0)
    )
    assert "left out where the model is called for a part of the picture" in caplog.text


@pytest.mark.parametrize(
    ("style", "target", "said"),
    [
        (torch.zeros(1, 8, 8), None, "style_mask is black everywhere"),
        (torch.ones(2, 8, 8), None, "style_mask has 2 masks and there is one reference"),
        (torch.full((1, 8, 8), float("nan")), None, "style_mask has values that are no numbers"),
        (torch.ones(1, 8, 8, 3), None, "style_mask is not a mask"),
        (None, torch.ones(1, 8, 8, 3), "target_mask is not a mask"),
        (None, torch.ones(0, 8, 8), "target_mask is not a mask"),
    ],
)
def test_what_is_no_mask_is_refused(style: Tensor | None, target: Tensor | None, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        masked(tiny_model("sd15"), style, target)


def test_masks_for_other_targets_are_refused() -> None:
    model = masked(shared(tiny_model("sd15")), None, torch.rand(3, 8, 8))
    with pytest.raises(ValueError, match="has 3 masks and the batch has 2 images"):
        sample(model, 3)
