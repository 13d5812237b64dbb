"""What the demo makes of its options, without a server."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from devtools import demo
from devtools.comfyui.workflow import matching, widget_values
from devtools.commands import demo_options
from devtools.demo import DemoError, keep, load_workflow, prepare, read_prompts

OBJECT_INFO: dict[str, Any] = {
    "CheckpointLoaderSimple": {
        "input": {"required": {"ckpt_name": [["flux.safetensors", "icons.safetensors", "big.safetensors"]]}}
    },
    "StyleAlignedPrompts": {"input": {"required": {"clip": ["CLIP"], "prompts": ["STRING"], "style": ["STRING"]}}},
    "EmptyLatentImage": {"input": {"required": {"width": ["INT"], "height": ["INT"], "batch_size": ["INT"]}}},
    "KSampler": {
        "input": {
            "required": {
                "model": ["MODEL"],
                "seed": ["INT"],
                "steps": ["INT"],
                "cfg": ["FLOAT"],
                "sampler_name": [["ddim", "dpmpp_2m", "euler"]],
                "scheduler": [["karras", "simple"]],
            }
        }
    },
}
GRAPH: dict[str, Any] = {
    "nodes": [
        {"id": 1, "type": "CheckpointLoaderSimple", "widgets_values": ["default.safetensors"]},
        {"id": 2, "type": "StyleAlignedPrompts", "widgets_values": ["a cat\n\n a dog ", "in ink"]},
        {"id": 3, "type": "EmptyLatentImage", "widgets_values": [512, 512, 4]},
        {"id": 4, "type": "KSampler", "widgets_values": [7, "fixed", 50, 7.5, "ddim", "simple"]},
    ]
}


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    demo_options(parser)
    return parser.parse_args(words)


def values(graph: dict[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for kind in OBJECT_INFO:
        merged |= widget_values(matching(graph, kind)[0], OBJECT_INFO)
    return merged


def test_the_small_model_by_default() -> None:
    request = prepare(GRAPH, OBJECT_INFO, options(), None)
    drawn = values(request.graph)
    assert drawn["ckpt_name"] == "icons.safetensors"
    assert (drawn["width"], drawn["height"]) == (32, 32)
    assert drawn["prompts"].splitlines() == request.prompts
    assert drawn["style"] == ""


@pytest.mark.parametrize("words", [("--model", "flux"), ("--checkpoint", "flux.safetensors")])
def test_the_small_transformer_with_its_own_sampler(words: tuple[str, ...]) -> None:
    drawn = values(prepare(GRAPH, OBJECT_INFO, options(*words), None).graph)
    assert (drawn["ckpt_name"], drawn["width"]) == ("flux.safetensors", 32)
    assert (drawn["sampler_name"], drawn["scheduler"], drawn["steps"]) == ("euler", "simple", 30)


def test_another_checkpoint_keeps_the_graphs_settings() -> None:
    request = prepare(GRAPH, OBJECT_INFO, options("--checkpoint", "big.safetensors", "--seed", "5"), None)
    drawn = values(request.graph)
    assert (drawn["ckpt_name"], drawn["width"], drawn["steps"], drawn["cfg"]) == ("big.safetensors", 512, 50, 7.5)
    assert (drawn["seed"], drawn["sampler_name"]) == (5, "ddim")
    assert drawn["style"] == "in ink"
    assert request.prompts == ["a cat", "a dog"]
    assert request.about == "big.safetensors · 50 steps · CFG 7.5 · seed 5 · in ink"


def test_options_go_before_everything() -> None:
    words = ("--steps", "3", "--cfg", "1.5", "--style", "{prompt} in clay")
    drawn = values(prepare(GRAPH, OBJECT_INFO, options(*words), ["a fox"]).graph)
    assert (drawn["steps"], drawn["cfg"], drawn["style"], drawn["prompts"]) == (3, 1.5, "{prompt} in clay", "a fox")


def test_an_unknown_checkpoint_lists_those_there_are() -> None:
    with pytest.raises(
        DemoError, match=r"no checkpoint 'small'; it has: flux\.safetensors, icons\.safetensors, big\.safetensors"
    ):
        prepare(GRAPH, OBJECT_INFO, options("--checkpoint", "small"), None)


def test_an_unknown_workflow_lists_those_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "WORKFLOWS", tmp_path)
    for name in ("two", "one"):
        (tmp_path / f"{name}.json").touch()
    with pytest.raises(DemoError, match=r"workflows/ has no nothing\.json; it has: one, two$"):
        load_workflow("nothing")


def test_prompts_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_bytes("\ufeffa cat\r\n\r\n  a dög \n".encode())
    assert read_prompts(file) == ["a cat", "a dög"]


@pytest.mark.parametrize(
    ("content", "said"), [(None, "cannot be read"), (b" \n", "no prompt in it"), (b"\xff\xfe\xfa", "not UTF-8")]
)
def test_a_bad_prompts_file(tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "prompts.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DemoError, match=said):
        read_prompts(file)


def test_pictures_are_kept_under_telling_names(tmp_path: Path) -> None:
    picture = tmp_path / "ComfyUI_00001_.png"
    Image.new("RGB", (4, 4)).save(picture)
    keep([picture, picture], ["A cat, (fluffy:1.2)", "猫"], tmp_path, "alone")
    assert (tmp_path / "alone-1-a-cat-fluffy-1-2.png").exists()
    assert (tmp_path / "alone-2.png").exists()
