"""A graph as it is without the pack: what the host alone makes of it."""

from __future__ import annotations

import copy
import itertools
from typing import Any

from devtools.comfyui.client import Prompt
from devtools.fuzz.graphs import APART, INVERT, LOOKED, MAP, POSITIONS, RECORD, REFERENCE, REPORT, SAVE, SHARE, TEST

FAMILIES = ["sd15", "sdxl", "sd2", "sd15_inpainting", "sdxl_refiner", "flux", "sd3"]


PASSES_MODEL_ON = (SHARE, POSITIONS, REFERENCE, APART, RECORD, LOOKED)


def without_the_pack(prompt: Prompt) -> Prompt:
    """The same graph with the host's own nodes in place of the pack's; the texts stay what they are."""
    plain = copy.deepcopy(prompt)
    for node_id, node in prompt.items():
        kind, inputs = node["class_type"], node["inputs"]
        if kind in (*PASSES_MODEL_ON, INVERT, SAVE, MAP, REPORT):
            del plain[node_id]
        if kind in PASSES_MODEL_ON:
            _redirect(plain, [node_id, 0], _source(prompt, inputs["model"]))
        if kind == REFERENCE:
            _redirect(plain, [node_id, 1], _empty_batch(plain, prompt, inputs))
    for node in plain.values():
        if node["class_type"] == f"{TEST}Result":
            node["inputs"].pop("reference", None)
    return plain


def _source(prompt: Prompt, link: list[Any]) -> list[Any]:
    """Where the model at `link` comes from, past the pack's nodes."""
    node = prompt[link[0]]
    return _source(prompt, node["inputs"]["model"]) if node["class_type"] in PASSES_MODEL_ON else link


def _empty_batch(plain: Prompt, prompt: Prompt, inputs: dict[str, Any]) -> list[Any]:
    """As many images of the size of Reference Latent's picture as it makes."""
    picture, targets = prompt[inputs["reference"][0]]["inputs"], inputs["targets"]
    size = {name: 8 * picture.get(name, 8) for name in ("width", "height")}
    batch = targets + 1 if isinstance(targets, int) else [targets[0], 1]  # over a connection it comes from Prompts
    return [_add(plain, "EmptyLatentImage", **size, batch_size=batch), 0]


def _redirect(prompt: Prompt, old: list[Any], new: Any) -> None:
    for node in prompt.values():
        for name, value in node["inputs"].items():
            if value == old:
                node["inputs"][name] = new


def _add(prompt: Prompt, node: str, /, **inputs: Any) -> str:
    node_id = next(name for name in map("plain {}".format, itertools.count()) if name not in prompt)
    prompt[node_id] = {"class_type": node, "inputs": inputs}
    return node_id


def check_prompt() -> Prompt:
    """Every family's model sampled without the pack, and then a look at what is left of earlier runs."""
    prompt: Prompt = {}
    samples: list[Any] = []
    for family in FAMILIES:
        model = [_add(prompt, f"{TEST}Model", family=family), 0]
        conditioning = [_add(prompt, f"{TEST}Conditioning", rows=2, tokens=8, seed=1), 0]
        latent = [_add(prompt, "EmptyLatentImage", width=64, height=64, batch_size=2), 0]
        inputs = {"model": model, "positive": conditioning, "negative": conditioning, "latent_image": latent}
        inputs |= {"seed": 1, "steps": 2, "cfg": 4.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
        samples = [_add(prompt, "KSampler", **inputs), 0]
        prompt[f"result {family}"] = {"class_type": f"{TEST}Result", "inputs": {"latent": samples}}
    prompt["remains"] = {"class_type": f"{TEST}Remains", "inputs": {"after": samples}}
    return prompt


def save_prompt(family: str, folder: str) -> Prompt:
    """Save a style of this family's model as FOLDER/FAMILY_00001_.safetensors."""
    prompt: Prompt = {}
    model = [_add(prompt, f"{TEST}Model", family=family), 0]
    picture = [_add(prompt, f"{TEST}Latent", kind="picture", images=1, height=8, width=8, seed=5), 0]
    text = [_add(prompt, f"{TEST}Conditioning", rows=1, tokens=8, seed=5), 0]
    inversion = {"model": model, "positive": text, "latent": picture, "steps": 2, "cfg": 1.0}
    trajectory = [_add(prompt, INVERT, **inversion), 0]
    inputs = {"model": model, "reference": picture, "trajectory": trajectory, "conditioning": text}
    _add(prompt, SAVE, filename_prefix=f"{folder}/{family}", **inputs)
    return prompt
