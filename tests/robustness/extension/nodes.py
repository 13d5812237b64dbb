"""The nodes: tiny models, texts and latents to sample, trouble on the way, and what came of it as JSON."""

from __future__ import annotations

import json
import math
import zlib
from typing import Any

import torch
from comfy_api.latest import ComfyExtension, io

from .models import FAMILIES, TinyClip, latent_of, model_of, tiny_models
from .remains import remains
from .trouble import KINDS, PLACES, Trouble

CATEGORY = "Style Aligned tests"
LATENT_KINDS = ["picture", "zeros", "nan", "16 channels", "video"]


class TestModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAlignedTestModel",
            category=CATEGORY,
            inputs=[io.Combo.Input("family", options=FAMILIES)],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, family: str) -> io.NodeOutput:
        return io.NodeOutput(model_of(family))


class TestClip(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAlignedTestClip",
            category=CATEGORY,
            inputs=[
                io.Boolean.Input("missing", default=False),
                io.Int.Input("tokens", default=8, min=1, max=77),
            ],
            outputs=[io.Clip.Output()],
        )

    @classmethod
    def execute(cls, missing: bool, tokens: int = 8) -> io.NodeOutput:
        return io.NodeOutput(None if missing else TinyClip(tokens))


class TestConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAlignedTestConditioning",
            category=CATEGORY,
            inputs=[
                io.Int.Input("rows", default=1, min=0, max=64),
                io.Int.Input("tokens", default=8, min=1, max=256),
                io.Int.Input("seed", default=1),
            ],
            outputs=[io.Conditioning.Output()],
        )

    @classmethod
    def execute(cls, rows: int, tokens: int, seed: int) -> io.NodeOutput:
        return io.NodeOutput(tiny_models.conditioning(rows, tokens, seed) if rows else None)


class TestLatent(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAlignedTestLatent",
            category=CATEGORY,
            inputs=[
                io.Combo.Input("kind", options=LATENT_KINDS),
                io.Int.Input("images", default=1, min=1, max=64),
                io.Int.Input("height", default=8, min=1, max=64),
                io.Int.Input("width", default=8, min=1, max=64),
                io.Int.Input("seed", default=1),
            ],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(cls, kind: str, images: int, height: int, width: int, seed: int) -> io.NodeOutput:
        return io.NodeOutput({"samples": latent_of(kind, images, height, width, seed)})


class TestTrouble(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAlignedTestTrouble",
            category=CATEGORY,
            inputs=[
                io.Model.Input("model"),
                io.Combo.Input("kind", options=KINDS),
                io.Combo.Input("place", options=PLACES),
                io.Int.Input("count", default=1, min=1, max=1000),
            ],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model: Any, kind: str, place: str, count: int) -> io.NodeOutput:
        return io.NodeOutput(Trouble(kind, place, count).attach(model))


class TestResult(io.ComfyNode):
    """Says what was sampled: shape, whether finite, a checksum of each row, how far row 0 is from the reference, and
    all of it from what should be the same."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAlignedTestResult",
            category=CATEGORY,
            inputs=[
                io.Latent.Input("latent"),
                io.Latent.Input("reference", optional=True),
                io.Latent.Input("same_as", optional=True),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, latent: dict[str, Any], reference: dict[str, Any] | None = None, same_as: dict[str, Any] | None = None
    ) -> io.NodeOutput:
        samples = latent["samples"]
        told = {
            "shape": list(samples.shape),
            "finite": bool(samples.isfinite().all()),
            "rows": [zlib.crc32(row.contiguous().view(torch.uint8).numpy().data) for row in samples],
            "from_reference": None if reference is None else distance(samples[:1], reference["samples"]),
            "from_same": None if same_as is None else distance(samples, same_as["samples"]),
        }
        return io.NodeOutput(ui={"told": (json.dumps(told),)})


def distance(row: torch.Tensor, reference: torch.Tensor) -> float:
    """The largest difference, relative to the largest value; infinite where the shapes differ."""
    if row.shape != reference.shape:
        return math.inf
    return float((row - reference).abs().max() / reference.abs().max())


class TestPictures(io.ComfyNode):
    """What is sampled as pictures, without a decoder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAlignedTestPictures",
            category=CATEGORY,
            inputs=[io.Latent.Input("latent")],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, latent: dict[str, Any]) -> io.NodeOutput:
        return io.NodeOutput(latent["samples"][:, :3].sigmoid().nan_to_num().movedim(1, -1).float().cpu())


class TestRemains(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAlignedTestRemains",
            category=CATEGORY,
            inputs=[io.Latent.Input("after", optional=True)],
            is_output_node=True,
            not_idempotent=True,
        )

    @classmethod
    def execute(cls, after: Any = None) -> io.NodeOutput:
        return io.NodeOutput(ui={"told": (json.dumps(remains()),)})


class TestExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [TestModel, TestClip, TestConditioning, TestLatent, TestTrouble, TestResult, TestPictures, TestRemains]


async def comfy_entrypoint() -> TestExtension:
    return TestExtension()
