"""Random graphs: mostly such as a user would build, some with mistakes in them, some with trouble on the way.

A run depends on its seed and number alone, so each can be drawn again without those before it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from devtools.comfyui.client import Prompt
from devtools.comfyui.workflow import ObjectInfo
from devtools.fuzz.samplers import custom_sampler, ksampler, stages
from devtools.fuzz.values import (
    HOST_PATCHES,
    OF_UNETS,
    TRANSFORMERS,
    apart_settings,
    looking,
    positions,
    protection,
    sharing_settings,
)

FAMILIES = ["sd15", "sd15", "sd15", "sdxl", "sd2", "sd15_inpainting", "sdxl_refiner", "flux", "flux", "sd3"]
SIZES = [(8, 8), (8, 8), (8, 8), (8, 12), (7, 11), (16, 16)]
SHARE, REFERENCE, INVERT, PROMPTS = (
    "StyleAlignedShareAttention",
    "StyleAlignedReferenceLatent",
    "StyleAlignedInvert",
    "StyleAlignedPrompts",
)
SAVE, LOAD = "StyleAlignedSaveStyle", "StyleAlignedLoadStyle"
POSITIONS = "StyleAlignedPositions"
APART, RECORD = "StyleAlignedReference", "StyleAlignedRecord"
MASKS, LOOKED = "StyleAlignedMasks", "StyleAlignedRecordAttention"
MAP, REPORT = "StyleAlignedAttentionMap", "StyleAlignedReport"
OURS = [SHARE, REFERENCE, INVERT, PROMPTS, SAVE, LOAD, POSITIONS, APART, RECORD, MASKS, LOOKED, MAP, REPORT]
TEST = "StyleAlignedTest"
STYLES = "fuzz"
"""The folder of the styles that are saved before the first run, one of each family."""
UNLIKE = ["a cat", "o" * 60, "o" * 480, "o" * 640, "o" * 720]
"""Texts of 1, 2, 13, 17 and 19 times as many tokens to the tests' CLIP: no length is common to many of them."""
SAMPLERS = ("KSampler", "KSamplerAdvanced", "SamplerCustomAdvanced")


@dataclass
class Run:
    """A graph, and what was done to it. `nodes` are its nodes by what they are for."""

    number: int
    prompt: Prompt
    family: str
    nodes: dict[str, str] = field(default_factory=dict)
    mistakes: list[str] = field(default_factory=list)
    must_refuse: bool = False
    trouble: str = ""
    is_denoised: bool = False
    """Whether the samples are the sampler's last prediction, which the host scales forth and back."""


class Builder:
    """Adds nodes to a prompt."""

    def __init__(self, rng: random.Random, object_info: ObjectInfo) -> None:
        self.rng = rng
        self.prompt: Prompt = {}
        settings = object_info["KSampler"]["input"]["required"]
        self.samplers = [name for name in settings["sampler_name"][0] if name != "dpm_adaptive"]  # thousands of steps
        self.schedulers = settings["scheduler"][0]

    def add(self, node: str, /, **inputs: Any) -> str:
        """A new node's id."""
        node_id = f"{len(self.prompt) + 1}"
        self.prompt[node_id] = {"class_type": node, "inputs": inputs}
        return node_id


def style_name(family: str) -> str:
    return f"{STYLES}/{family}_00001_.safetensors"


def random_run(seed: int, number: int, object_info: ObjectInfo) -> Run:
    """Run `number` of the program with `seed`, before mistakes are made in it."""
    rng = random.Random(f"{seed}/{number}")
    builder = Builder(rng, object_info)
    run = Run(number, builder.prompt, rng.choice(FAMILIES))
    images = rng.choice([1, 2, 2, 3, 3, 4])
    size = rng.choice(SIZES)
    run.nodes["model"] = builder.add(f"{TEST}Model", family=run.family)
    positive = _positive(builder, run, images)
    negative = [builder.add(f"{TEST}Conditioning", rows=1, tokens=rng.choice([8, 8, 24]), seed=rng.randrange(99)), 0]
    model, latent = _model_and_latent(builder, run, positive, images, size)
    samples = rng.choice([ksampler, ksampler, custom_sampler, stages])(builder, model, positive, negative, latent)
    run.is_denoised = samples[1] == 1
    run.nodes["result"] = builder.add(f"{TEST}Result", latent=samples)
    if REFERENCE in run.nodes:
        builder.prompt[run.nodes["result"]]["inputs"]["reference"] = [run.nodes["reference picture"], 0]
    if rng.random() < 0.1:
        _save(builder, run, positive, size)
    if LOOKED in run.nodes or rng.random() < 0.1:
        _look(builder, run, samples)
    return run


def _positive(builder: Builder, run: Run, images: int) -> list[Any]:
    """The link to a conditioning: from Prompts, with or without a saved style's first row, or from elsewhere."""
    rng = builder.rng
    if rng.random() < 0.2:
        tokens, seed = rng.choice([8, 16]), rng.randrange(99)
        return [builder.add(f"{TEST}Conditioning", rows=rng.choice([1, images]), tokens=tokens, seed=seed), 0]
    tokens = 8 if run.family in TRANSFORMERS else 77
    run.nodes["clip"] = builder.add(f"{TEST}Clip", missing=False, tokens=tokens)
    inputs = {"clip": [run.nodes["clip"], 0], "style": rng.choice(["", "clay", "{prompt}, clay", "泥 🎨 (x:1.2)"])}
    lines = max(images + rng.choice([0, 0, 0, 0, 1, -1]), 1)
    if rng.random() < 0.15:
        run.nodes["conditioning of a style"] = builder.add(LOAD, name=style_name(run.family))
        inputs["reference"] = [run.nodes["conditioning of a style"], 2]
        lines = max(lines - 1, 1)
    words = ["a cat", "a dog", "\ta house  ", "o" * 60, "ein Füllhorn"]
    if lines == images and rng.random() < 0.3:
        words = UNLIKE
    texts = [rng.choice(words) for _ in range(lines)]
    run.nodes[PROMPTS] = builder.add(PROMPTS, prompts="\n".join(texts), **inputs)
    return [run.nodes[PROMPTS], 0]


def _model_and_latent(
    builder: Builder, run: Run, positive: list[Any], images: int, size: tuple[int, int]
) -> tuple[list[Any], list[Any]]:
    """The links to the patched model, its nodes in any order, and to the latent to sample."""
    rng, (height, width) = builder.rng, size
    batch = images if rng.random() < 0.7 or PROMPTS not in run.nodes else [run.nodes[PROMPTS], 1]
    model = [run.nodes["model"], 0]
    latent = [builder.add("EmptyLatentImage", width=8 * width, height=8 * height, batch_size=batch), 0]
    steps = [SHARE] * rng.choice([0, 1, 1, 1, 1, 1, 2]) + [REFERENCE] * (rng.random() < 0.4)
    patches = [name for name in HOST_PATCHES if run.family not in TRANSFORMERS or name not in OF_UNETS]
    steps += rng.choices(patches, k=rng.choice([0, 0, 1, 1, 2]))
    if run.family == "flux" and rng.random() < 0.3:
        steps.append(POSITIONS)
    if rng.random() < 0.2:
        steps.append(MASKS)
    if rng.random() < 0.2:
        steps.append(LOOKED)
    if SHARE in steps:  # without it a reference apart is refused
        steps += [APART] * rng.choice([0, 0, 0, 1, 1, 2])
    if rng.random() < 0.15:
        steps.append("trouble")
    rng.shuffle(steps)
    for step in steps:
        if step == SHARE:
            node = builder.add(SHARE, model=model, **sharing_settings(rng, run.family))
        elif step == POSITIONS:
            node = builder.add(POSITIONS, model=model, **positions(rng))
        elif step == REFERENCE:
            node = _reference(builder, run, model, positive, max(images - 1, 1), size)
            latent = [node, 1]
        elif step == APART:
            node = _apart(builder, run, model)
        elif step == MASKS:
            names = [name for name in ("style_mask", "target_mask") if rng.random() < 0.7]
            node = builder.add(MASKS, model=model, **protection(rng), **{name: _mask(builder) for name in names})
        elif step == LOOKED:
            node = builder.add(LOOKED, model=model, steps=rng.choice([1, 2, 4, 10000]))
        elif step == "trouble":
            node = _trouble(builder, run, model)
        else:
            node = builder.add(step, model=model, **HOST_PATCHES[step](rng))
        run.nodes[step] = node
        model = [node, 0]
    return model, latent


def _mask(builder: Builder) -> list[Any]:
    """The link to a mask with a grey or white square on black, grey or white."""
    rng = builder.rng
    sides = rng.choice([8, 16, 40]), rng.choice([8, 24])
    ground = builder.add("SolidMask", value=rng.choice([0.0, 0.3, 1.0]), width=sides[0], height=sides[1])
    square = builder.add("SolidMask", value=rng.choice([0.4, 1.0]), width=4, height=4)
    placed = {"destination": [ground, 0], "source": [square, 0], "x": rng.choice([0, 3]), "y": 2, "operation": "add"}
    return [builder.add("MaskComposite", **placed), 0]


def _reference(
    builder: Builder, run: Run, model: list[Any], positive: list[Any], targets: int, size: tuple[int, int]
) -> str:
    rng = builder.rng
    picture = _picture(builder, run, size)
    inputs: dict[str, Any] = {}
    if rng.random() < 0.4:
        steps, cfg = rng.choice([1, 2, 3, 5]), rng.choice([1.0, 2.0, 2.0])
        # With a reference apart on the model it would take on that one's style, or be refused where nothing shares yet.
        inverted = [run.nodes["model"], 0] if APART in run.nodes else model
        run.nodes[INVERT] = builder.add(INVERT, model=inverted, positive=positive, latent=picture, steps=steps, cfg=cfg)
        inputs = {"trajectory": [run.nodes[INVERT], 0], "offset": rng.choice([0, 0, 1, 3, 1000])}
    if PROMPTS in run.nodes and rng.random() < 0.1:
        inputs["targets"] = [run.nodes[PROMPTS], 2]
    if rng.random() < 0.25:
        height, width = size
        own = {"kind": "picture", "images": targets, "height": height, "width": width, "seed": rng.randrange(99)}
        inputs["pictures"] = [builder.add(f"{TEST}Latent", **own), 0]
    inputs = {"targets": targets, "start_from": rng.choice(["noise", "noise", "reference"]), **inputs}
    return builder.add(REFERENCE, model=model, reference=picture, **inputs)


def _apart(builder: Builder, run: Run, model: list[Any]) -> str:
    """A reference apart: a picture of any size, with a prompt of its own or none, and with a path or none."""
    rng = builder.rng
    text = builder.add(f"{TEST}Conditioning", rows=1, tokens=rng.choice([8, 8, 24]), seed=rng.randrange(99))
    inputs: dict[str, Any] = {}
    if rng.random() < 0.2:
        inputs["reference"], inputs["trajectory"] = _recorded(builder, run, [text, 0])
    else:
        (height, width), seed = rng.choice([*SIZES, (4, 6), (12, 20)]), rng.randrange(99)
        picture = builder.add(f"{TEST}Latent", kind="picture", images=1, height=height, width=width, seed=seed)
        run.nodes["picture apart"], inputs["reference"] = picture, [picture, 0]
        if rng.random() < 0.25:
            steps, cfg = rng.choice([1, 2, 3]), rng.choice([1.0, 2.0])
            inversion = {"positive": [text, 0], "latent": inputs["reference"], "steps": steps, "cfg": cfg}
            inputs["trajectory"] = [builder.add(INVERT, model=[run.nodes["model"], 0], **inversion), 0]
    inputs |= {name: [text, 0] for name, share in (("conditioning", 0.6), ("negative", 0.2)) if rng.random() < share}
    if rng.random() < 0.15:
        inputs["style_mask"] = _mask(builder)
    return builder.add(APART, model=model, **inputs, **apart_settings(rng))


def _recorded(builder: Builder, run: Run, text: list[Any]) -> tuple[list[Any], list[Any]]:
    """The links to an image that is sampled for it, and to its path."""
    rng, (height, width) = builder.rng, builder.rng.choice(SIZES)
    run.nodes[RECORD] = builder.add(RECORD, model=[run.nodes["model"], 0])
    empty = [builder.add("EmptyLatentImage", width=8 * width, height=8 * height, batch_size=1), 0]
    settings = {"sampler_name": rng.choice(["euler", "dpmpp_2m", "heun"]), "scheduler": "normal", "denoise": 1.0}
    settings |= {"seed": rng.randrange(2**32), "steps": rng.choice([2, 3]), "cfg": rng.choice([1.0, 4.0])}
    pair = {"positive": text, "negative": text}
    sampler = builder.add("KSampler", model=[run.nodes[RECORD], 0], latent_image=empty, **pair, **settings)
    return [sampler, 0], [run.nodes[RECORD], 1]


def _picture(builder: Builder, run: Run, size: tuple[int, int]) -> list[Any]:
    """The link to a reference picture's latent."""
    height, width = size
    seed = builder.rng.randrange(99)
    node = builder.add(f"{TEST}Latent", kind="picture", images=1, height=height, width=width, seed=seed)
    run.nodes["reference picture"] = node
    return [node, 0]


def _trouble(builder: Builder, run: Run, model: list[Any]) -> str:
    rng = builder.rng
    kind = rng.choice(["out of memory", "error", "interrupt"])
    places = ["sampling", "prediction", "guidance", "model call", "cross-attention", "self-attention", "callback"]
    place, count = rng.choice(places), rng.choice([1, 1, 2, 3, 7])
    run.trouble = f"{kind} in {place}"
    return builder.add(f"{TEST}Trouble", model=model, kind=kind, place=place, count=count)


def _save(builder: Builder, run: Run, positive: list[Any], size: tuple[int, int]) -> None:
    rng = builder.rng
    picture = [run.nodes["reference picture"], 0] if REFERENCE in run.nodes else _picture(builder, run, size)
    inputs: dict[str, Any] = {"filename_prefix": rng.choice(["style", "sets/clay", "a b ü", "%year%/x", "con", "x."])}
    if rng.random() < 0.5:
        inputs["conditioning"] = positive
    if INVERT in run.nodes and rng.random() < 0.5:
        inputs["trajectory"] = [run.nodes[INVERT], 0]
    run.nodes[SAVE] = builder.add(SAVE, model=[run.nodes["model"], 0], reference=picture, **inputs)


def _look(builder: Builder, run: Run, samples: list[Any]) -> None:
    """At what was sampled: in numbers, and at where it looked if that was recorded."""
    rng = builder.rng
    pictures = [builder.add(f"{TEST}Pictures", latent=samples), 0]
    if LOOKED not in run.nodes or rng.random() < 0.3:
        reference = [builder.add("EmptyImage", width=24, height=16, batch_size=1, color=rng.randrange(2**24)), 0]
        run.nodes[REPORT] = builder.add(REPORT, images=pictures, reference=reference)
    if LOOKED in run.nodes:
        inputs = {**looking(rng), "attention": [run.nodes[LOOKED], 1], "images": pictures}
        if inputs["look_up"] == "mask":
            inputs["mask"] = _mask(builder)
        run.nodes[MAP] = builder.add(MAP, **inputs)
