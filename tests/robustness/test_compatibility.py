"""Every node of the pack beside every kind of model patch of the host: the table in docs/compatibility.md is measured.

Compiled models take minutes, so only where MEASURE_COMPATIBILITY is set. After an intended change:
MEASURE_COMPATIBILITY=1 UPDATE_SNAPSHOTS=1 python dev.py test tests/robustness/test_compatibility.py
"""

from __future__ import annotations

import os
import shutil
import sys

import page
import pytest
import torch
from host_patches import PATCHES, SLOW, HostPatch, parameters
from oracles import relative_error
from sampling import sample, shared
from tiny_models import small_model
from verdicts import COLUMNS, Broken, share_attention, word

UPDATE = bool(os.environ.get("UPDATE_SNAPSHOTS"))
MEASURED: dict[str, page.Row] = {}

pytestmark = pytest.mark.usefixtures("_no_gradients")


@pytest.mark.parametrize("patch", parameters(PATCHES))
def test_the_row_is_what_is_measured(patch: HostPatch):
    try:
        MEASURED[patch.name] = {name: word(measure, patch) for name, measure in COLUMNS.items()}
    finally:
        torch._dynamo.reset()
    if not UPDATE:
        assert MEASURED[patch.name] == page.read()[patch.name]


def test_the_page_is_whole(request: pytest.FixtureRequest):
    """Its rows are the patches, and its words are those of today."""
    if UPDATE:
        page.PAGE.write_text(page.render({**page.read(), **MEASURED}), encoding="utf-8", newline="\n")
    assert page.render(page.read()) == page.PAGE.read_text(encoding="utf-8")


def test_what_breaks_has_no_word():
    """A patch that switches sharing off behind its back, and one that gives no numbers."""

    def deaf(model):
        clone = model.clone()
        clone.model_options["transformer_options"]["wrappers"] = {}
        clone.wrappers = {}
        return clone

    def blind(model):
        clone = model.clone()
        clone.set_model_sampler_post_cfg_function(lambda arguments: arguments["denoised"] * float("nan"))
        return clone

    with pytest.raises(Broken, match="order of the nodes"):
        share_attention(HostPatch("deaf", deaf))
    with pytest.raises(Broken, match="not finite"):
        share_attention(HostPatch("blind", blind))


@SLOW
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="inductor needs a C++ compiler")
@pytest.mark.skipif(sys.platform == "win32", reason="the host's node has no inductor there without Triton")
def test_torch_compile_with_its_own_backend():
    """The table's row has the graphs; this has the code that the host's node makes of them."""
    from comfy_extras.nodes_torch_compile import TorchCompileModel

    model = small_model()
    together = sample(TorchCompileModel.execute(shared(model, shift=0.5), "inductor").result[0], 2, steps=1)
    assert relative_error(together, sample(shared(model, shift=0.5), 2, steps=1)) < 1e-4
    torch._dynamo.reset()
