"""Each variant of the small transformer is one: it changes the targets, each in its own way, and not the reference."""

import itertools
import json

import pytest
import torch

from devtools.comfyui.icon_model import ICON_MODELS, load_icon_model, placed, shared
from devtools.evaluation.variants import OF_HARD, OF_INSIDE, OF_MODEL, VARIANTS
from devtools.pictures.layout import WORKFLOWS
from toy import icons

STEPS, ROWS = 9, 2  # so many that half and 60% of them are not the same


@pytest.fixture(scope="module")
def drawn(comfyui_path) -> dict[str, torch.Tensor]:
    from nodes import common_ksampler  # the host's

    kind = ICON_MODELS["flux"]
    loaded = load_icon_model(kind.checkpoint)
    latent = {"samples": torch.zeros(ROWS, 3, icons.SIZE, icons.SIZE)}
    star, empty = loaded.encode("star"), loaded.encode("")
    found = {}
    for key, variant in VARIANTS.items():
        if key not in OF_MODEL["flux"] or variant.source != "text" or variant.everyone:
            continue  # full sharing changes the reference too, and has a test of its own
        model = placed(shared(loaded.model, variant.sharing), variant.positions)
        settings = (1, STEPS, 3.0, kind.sampler, kind.scheduler)
        found[key] = common_ksampler(model, *settings, star, empty, latent)[0]["samples"]
    return found


@pytest.mark.thorough
def test_none_changes_the_reference(drawn):
    for key, pictures in drawn.items():
        torch.testing.assert_close(pictures[0], drawn["plain"][0], rtol=1e-3, atol=1e-3, msg=key)


@pytest.mark.thorough
def test_no_two_draw_the_same_target(drawn):
    for first, second in itertools.combinations(drawn, 2):
        assert (drawn[first][1] - drawn[second][1]).abs().max() > 0.01, (first, second)


def test_hard_sets_have_variants_of_a_given_picture_only():
    """Where it lies, and how large it is, is the sets' own; all are compared with the same baseline."""
    assert {VARIANTS[key].baseline for keys in OF_HARD.values() for key in keys} == {"picture-plain"}


def test_all_are_some_models():
    assert {key for of in (OF_MODEL, OF_HARD, OF_INSIDE) for keys in of.values() for key in keys} == set(VARIANTS)


def test_the_template_for_flux_has_what_is_said_to_be_chosen():
    graph = json.loads((WORKFLOWS / "style_aligned_flux.json").read_text(encoding="utf-8"))
    saved = {node["type"]: node.get("widgets_values") for node in graph["nodes"]}
    chosen = VARIANTS["chosen"]
    assert saved["StyleAlignedPositions"] == list(chosen.positions.values())
    assert saved["StyleAlignedShareAttention"] == [1, 0, False, *chosen.sharing.values(), False, 0, 1, "", 1, False]
