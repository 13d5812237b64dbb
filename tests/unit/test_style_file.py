"""Styles as files: read back as they were written, or refused."""

from __future__ import annotations

import json
import pickle
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from style_aligned.shared_attention import style_file
from style_aligned.shared_attention.style_file import Style, StyleFileError, decode, encode
from style_aligned.shared_attention.trajectory import LatentSpace, Trajectory
from style_aligned.shared_attention.version import VERSION
from torch import Tensor


def random(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def trajectory(**differences: Any) -> Trajectory:
    parts = {
        "sigmas": torch.tensor([0.0, 0.3, 14.6]),
        "latents": random(3, 4, 6, 8),
        "space": LatentSpace.FLOW,
        "model": "BaseModel",
        "latent_format": "SD15",
    }
    return Trajectory(**{**parts, **differences})


def conditioning(dtype: torch.dtype = torch.float32, **options: Any) -> list[list[Any]]:
    return [[random(1, 5, 16, dtype=dtype), {"pooled_output": random(1, 7, dtype=dtype), **options}]]


def style(**differences: Any) -> Style:
    parts = {"reference": random(1, 4, 6, 8), "model": "SD15", "latent_format": "SD15"}
    return Style(**{**parts, **differences})


WHOLE = style(
    trajectory=trajectory(), conditioning=conditioning(guidance=3.5, mask=torch.ones(1, 2)), prompt="a cät\n{x}"
)


def same(one: Any, other: Any) -> bool:
    """Equal through and through: kind, type, shape and every bit."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
    if isinstance(one, Style | Trajectory):
        return isinstance(other, type(one)) and same(vars(one), vars(other))
    return type(one) is type(other) and one == other


def test_a_style_is_read_as_it_was_written():
    assert same(decode(encode(WHOLE)), WHOLE)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_precision_is_kept(dtype):
    given_style = style(reference=random(1, 4, 6, 8, dtype=dtype), conditioning=conditioning(dtype))
    assert same(decode(encode(given_style)), given_style)


@pytest.mark.parametrize("part", ["trajectory", "conditioning"])
def test_what_a_style_lacks_is_none(part):
    assert getattr(decode(encode(replace(WHOLE, **{part: None}))), part) is None


OPTIONS = {
    "pooled_output": None,
    "clip_start_percent": 0.1,
    "width": 1024,
    "flag": True,
    "name.with.dots": "ü",
    "attention_mask": torch.tensor([[1, 1, 0]]),
    "scalar.tensor": torch.tensor(0.1, dtype=torch.float64),
}


def test_every_entry_of_a_scheduled_conditioning_and_its_options():
    scheduled = [[random(1, 3, 8, seed=seed), {**OPTIONS, "clip_end_percent": seed / 3}] for seed in range(12)]
    given_style = style(conditioning=scheduled)
    assert same(decode(encode(given_style)), given_style)


def test_views_and_shared_tensors_are_stored():
    """As they come: a row of a batch, transposed, the same memory twice."""
    batch = random(4, 16, 5).transpose(1, 2)
    reference = random(3, 6, 8, 4).permute(0, 3, 1, 2)[1:2]
    given_style = style(reference=reference, conditioning=[[batch[:1], {"pooled_output": batch[:1, 0]}]])
    assert same(decode(encode(given_style)), given_style)


def test_metadata_says_what_the_style_belongs_to(tmp_path):
    (tmp_path / "style.safetensors").write_bytes(encode(WHOLE))
    with safetensors.safe_open(tmp_path / "style.safetensors", "pt") as file:
        metadata = file.metadata()
    assert {name: metadata[name] for name in ("model", "latent_format", "latent_size", "prompt", "pack_version")} == {
        "model": "SD15", "latent_format": "SD15", "latent_size": "8x6", "prompt": "a cät\n{x}", "pack_version": VERSION,
    }  # fmt: skip


def test_the_version_is_the_projects():
    project = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r'^version = "(.*)"$', project, re.MULTILINE)[1] == VERSION


@pytest.mark.parametrize(
    ("differences", "said"),
    [
        ({"reference": random(2, 4, 6, 8)}, r"one picture.*\(2, 4, 6, 8\)"),
        ({"reference": random(1, 4, 2, 6, 8)}, "one picture"),
        ({"reference": random(1, 4, 0, 8)}, "one picture"),
        ({"reference": torch.full((1, 4, 6, 8), float("nan"))}, "not finite"),
        ({"reference": torch.ones(1, 4, 6, 8, dtype=torch.int64)}, "not finite"),
        ({"reference": torch.zeros(1, 4, 6, 8)}, "empty latent"),
        ({"trajectory": trajectory(latents=random(3, 4, 6, 6))}, r"\(4, 6, 6\).*\(4, 6, 8\)"),
        ({"trajectory": trajectory(latents=random(3, 4, 6, 8).half())}, "32-bit"),
        ({"trajectory": trajectory(latents=random(3, 4, 6, 8) / 0)}, "finite"),
        ({"trajectory": trajectory(latent_format="SDXL")}, "SDXL latents"),
        ({"conditioning": [[random(2, 5, 16), {}]]}, r"one prompt.*\(2, 5, 16\)"),
        ({"conditioning": [[random(1, 16), {}]]}, "one prompt"),
        ({"conditioning": [[random(1, 5, 16) / 0, {}]]}, "'embeddings'"),
        ({"conditioning": conditioning(control=object())}, "'control' cannot be kept.*before the node"),
        ({"conditioning": conditioning(area=(1, 2, 3, 4))}, "'area'"),
        ({"conditioning": conditioning(strength=float("nan"))}, "'strength'"),
        ({"conditioning": conditioning(mask=torch.tensor([float("inf")]))}, "'mask'"),
    ],
)
def test_what_is_no_style_is_refused_by_name(differences, said):
    with pytest.raises(ValueError, match=said):
        style(**differences)


def test_a_file_that_could_not_be_read_again_is_not_written():
    with pytest.raises(ValueError, match="shorten the prompt"):
        encode(style(prompt="x" * style_file.MAX_HEADER_BYTES))


CONTENT = encode(WHOLE)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(CONTENT) - 1))
def test_a_truncated_file_is_refused(length: int):
    with pytest.raises(StyleFileError):
        decode(CONTENT[:length])


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 8 * len(CONTENT) - 1), st.integers(0, 8 * len(CONTENT) - 1))
def test_damage_is_noticed(first: int, second: int):
    """Flipped bits: the same style comes out, as where a space was hit, or an error of ours."""
    content = bytearray(CONTENT)
    for bit in (first, second):
        content[bit // 8] ^= 1 << bit % 8
    try:
        found = decode(bytes(content))
    except StyleFileError:
        return
    assert same(found, WHOLE)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_crash_the_reader(content: bytes):
    for start in (b"", len(content).to_bytes(8, "little")):
        with pytest.raises(StyleFileError):
            decode(start + content)


def file(metadata: dict[str, Any] | None = None, tensors: dict[str, Tensor] | None = None) -> bytes:
    """A file with a right digest, whoever made it."""
    own = {"reference": random(1, 4, 6, 8)} if tensors is None else tensors
    texts = {
        "format": style_file.FORMAT, "format_version": "1", "model": "SD15", "latent_format": "SD15", "prompt": "",
        **(metadata or {}),
    }  # fmt: skip
    texts = {name: value for name, value in texts.items() if value is not None}
    return safetensors.torch.save(own, {**texts, "sha256": style_file._digest(own, texts)})


def header(text: str) -> bytes:
    return len(text).to_bytes(8, "little") + text.encode()


HUGE_SHAPE = {
    "__metadata__": {"format": style_file.FORMAT, "format_version": "1"},
    "reference": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]},
}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "truncated"),
        ((2**60).to_bytes(8, "little") + b"{}", "truncated"),
        (header("{}" + " " * style_file.MAX_HEADER_BYTES), "not a safetensors"),
        (header("[" * 100_000), "not a style"),
        (header('{"__metadata__": 3}'), "not a style"),
        (header('{"__metadata__": {"format": "style_aligned.style", "format_version": []}}'), "not a style"),
        (header(json.dumps(HUGE_SHAPE)) + b"1234", "damaged"),
        (pickle.dumps({"reference": 1}) + b" " * 1000, "truncated|not a style"),
        (safetensors.torch.save({"reference": random(1, 4, 6, 8)}), "not a style"),
        (file({"format": "another"}), "not a style"),
        (file({"format_version": "2", "pack_version": "9.9"}), r"later version.*9\.9.*update"),
        (file(tensors={"other": torch.ones(1)}), "'reference'"),
        (file({"model": None}), "'model'"),
        (file({"prompt": None}), "'prompt'"),
        (file(tensors={"reference": torch.zeros(1, 4, 6, 8)}), "empty latent"),
        (file(tensors={"reference": random(1, 4, 6, 8) / 0}), "not finite"),
        (file(tensors={"reference": torch.ones(1, 4, 6, 8, dtype=torch.int32)}), "not finite"),
        (file({"trajectory_space": "flow", "trajectory_model": "BaseModel"}), "trajectory.sigmas"),
        (file({"trajectory_space": "round"}), "trajectory"),
        (file({"conditioning": "[{}]"}), "conditioning.0"),
        (file({"conditioning": "7"}), "whole"),
        (file({"conditioning": "["}), "whole"),
        (file({"conditioning": "[7]"}), "whole"),
    ],
)
def test_a_hostile_file_is_refused_with_its_reason(content: bytes, said: str):
    with pytest.raises(StyleFileError, match=said):
        decode(content)


def test_falling_noise_levels_in_a_file_are_refused():
    tensors = {
        "reference": random(1, 4, 6, 8),
        "trajectory.sigmas": torch.tensor([0.0, 2.0, 1.0]),
        "trajectory.latents": random(3, 4, 6, 8),
    }
    with pytest.raises(StyleFileError, match="rise"):
        decode(file({"trajectory_space": "flow", "trajectory_model": "BaseModel"}, tensors))
