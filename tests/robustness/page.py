"""docs/compatibility.md: the words that were measured, and what each of them says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from host_patches import PATCHES
from verdicts import (
    AS_IN_BATCH,
    BESIDE,
    COLUMNS,
    COUPLED,
    EACH_ALONE,
    EQUATIONS,
    NO_BATCH,
    PARTLY_LEFT_OUT,
    PARTS,
    REFERENCE_EXACT,
    ROW_EXACT,
    ROWS_EXACT,
    STYLE_ONLY,
)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "compatibility.md"

Row = dict[str, str]
"""A word for each column."""

MEANING = {
    EQUATIONS: (
        "the pictures agree with a float64 model that computes the paper's equations densely and carries the same "
        "patch, *Invert*'s trajectory with such a model's DDIM inversion: to 1e-5 in one model call, 1e-4 in several"
    ),
    REFERENCE_EXACT: (
        "the patch brings self-attention of its own, or changes its tokens, which the paper's equations do not cover; "
        "the reference is the patch's own picture to 1e-5, and the targets take on its style"
    ),
    ROWS_EXACT: (
        "row 0 is the given reference to the bit, with and without Share Attention, and without it the targets are "
        "the patch's own pictures"
    ),
    ROW_EXACT: (
        "row 0 is the given reference to the bit; the patch itself looks at the whole batch, so that the reference "
        "reaches the targets through it"
    ),
    AS_IN_BATCH: (
        "the targets are those of a batch that has the same picture and prompt in row 0 by Reference Latent, to 1e-5 "
        "in one model call, 1e-4 in several"
    ),
    STYLE_ONLY: (
        "the targets take on the style, and are not quite those of such a batch: the patch looks at the whole batch, "
        "at the images' own prompts or at random, and a reference apart has a model call of its own"
    ),
    PARTS: (
        "the patch brings self-attention of its own or changes its tokens; masks act in their parts of the pictures, "
        "and with a black one over the targets these are the patch's own without sharing"
    ),
    PARTLY_LEFT_OUT: (
        "the patch merges the tokens of some layers, which then are no places of the picture: there masks are left "
        "out, as the log says"
    ),
    BESIDE: "the patch does nothing in an inversion, which is that of the model without it",
    EACH_ALONE: "every picture of the batch is the one that its prompt gives alone, in a batch of one",
    NO_BATCH: "ComfyUI itself fails with this patch where a batch has more than one picture",
    COUPLED: "the patch itself looks at the whole batch, so a picture depends on the others, as it does with any batch",
}

INTRODUCTION = """\
# Beside other nodes

What the nodes of this pack do together with ComfyUI's own model patches, measured on tiny UNets of random weights with
the nodes in either order. This page is written by the tests, and they fail when it is no longer true:

    MEASURE_COMPATIBILITY=1 UPDATE_SNAPSHOTS=1 python dev.py test tests/robustness/test_compatibility.py

"""

ALWAYS = """\
In every cell of *Share Attention* these hold besides: the order of the two nodes makes no difference; with sharing out
of its range the pictures are the patch's own to the bit; all values are finite; the targets differ from those without
sharing. In those of *Reference Latent* the order makes no difference either. In those of *Reference* neither the order
of the three nodes does; with sharing out of its range the pictures are the patch's own to the bit, and at `weight` 0
those without the node. In those of *Masks* the order makes no difference, out of range the pictures are the patch's own
to the bit, and with a black mask over the targets these are as without sharing.

To know besides:

- **HyperTile** turns tiles into rows of the batch; in the layers that it tiles there is nothing to share, and the log
  says so.
- **Context windows over the batch** leave targets whose window lacks the reference as they are without sharing.
- **ControlNet** shapes the reference too; Share Attention's `reference_without_control` keeps it away. With Reference
  Latent its hints never reach the reference, and no more do masked pictures, unCLIP's pictures and GLIGEN's boxes.
- **PAG, SAG** and others that replace a self-attention are called with the whole batch, for the images' attention to
  themselves; the reference's share is added with the weight that the softmax gives it.

Tiled sampling, AnimateDiff-Evolved's windows, other attention backends, samplers that differentiate the model, and what
the log says where nothing can be shared: [sharing-in-graphs.md](sharing-in-graphs.md).
For transformers see [compatibility-transformers.md](compatibility-transformers.md).
"""

HOSTS = """
## On which ComfyUI

All tests run on the pinned 0.30.0, and those that touch the host on 0.24.0. `python dev.py matrix --comfyui PATH` runs
these on any other ComfyUI folder, in an environment that it makes of the folder's own requirements. On 0.33.0 (of 22
August 2026) passed all in `tests/server`, in `tests/host` those that are not marked as thorough, and in the browser
those of nodes and messages; under 0.30.0 the interface 1.58.1 passed these and ran every template. All on the CPU.

Of 0.34 to 0.38.1 the source was read where the pack meets it, and not run:

- **Attention in containers**: what stands in for it gets plain tensors, as before.
- **A checkpoint that asks for an attention of its own**, of 8-bit integers (`preferred_attention`): layers attend as it
  asks, shared or not; another node's attention goes before it, as without sharing. While a transformer shares, its
  attentions outside of its blocks, such as text refiners, are the default.
- **comfy-kitchen's attention** for all (`--use-ck-attention`) or by a node is treated as every backend of which nobody
  knows what it does with a mask: shift and strength are computed without one.
- **Norms and rotations in one kernel**: blocks are called with the same rotations as before in Flux, Z-Image, Krea 2,
  Cosmos-Predict2, HunyuanImage, Ideogram 4, JoyImage and Kandinsky 5. The other transformers were not at hand.
- **The Comfy compiler and CUDA graphs** plan a block's memory once and replay it. Of the image models read, Qwen-Image
  2.1 alone has them, which does not share. A model that shares in them would need `--disable-comfy-compiler`.
- **The cache of weights** is for NPUs, and holds nothing that is computed.
- **Sampling**: batches, conditionings and the order of wrappers are as in 0.30.
- **New models** (Qwen-Image 2.1, Ming-Image, MiniMax H3, ...) are refused by name.
"""


def read() -> dict[str, Row]:
    """The committed table, by patch."""
    rows: dict[str, Row] = {}
    if not PAGE.exists():
        return rows
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == len(COLUMNS) + 1:
            rows[cells[0]] = dict(zip(COLUMNS, cells[1:], strict=True))
    return rows


def render(rows: Mapping[str, Row]) -> str:
    """The page, with the rows in the order of the patches."""
    lines = ["| " + " | ".join(["", *COLUMNS]) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    lines += ["| " + " | ".join([patch.name, *rows[patch.name].values()]) + " |" for patch in PATCHES]
    used = {word for row in rows.values() for word in row.values()}
    legend = [f"- **{word}**: {meaning}." for word, meaning in MEANING.items() if word in used]
    return INTRODUCTION + "\n".join([*lines, "", *legend, ""]) + "\n" + ALWAYS + HOSTS
