"""Mistakes that users make in a graph: values out of bounds, and things that are missing or do not belong together."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from devtools.comfyui.workflow import ObjectInfo
from devtools.fuzz.graphs import (
    APART,
    FAMILIES,
    INVERT,
    LOAD,
    MAP,
    MASKS,
    OURS,
    PROMPTS,
    REFERENCE,
    SAMPLERS,
    SAVE,
    SHARE,
    TEST,
    Run,
    style_name,
)

Mistake = Callable[[random.Random, Run], bool]
"""Makes the mistake in the run's graph; False where the graph has no place for it."""

NAN, INFINITE = float("nan"), float("inf")
NUMBERS = [-1, 0, -(2**40), 2**40, 1e30, -1e30, NAN, INFINITE, -INFINITE]
STRANGE: dict[str, list[Any]] = {
    "INT": [*NUMBERS, 1.5, "x", "", None, [], {}, True],
    "FLOAT": [*NUMBERS, "x", "1e3", None, [], {}],
    "BOOLEAN": ["x", 7, None, []],
    "STRING": [None, 5, [], {}, "\0", "x" * 10000, "../../x", "{prompt}{}", "%s", "\ud800", "((((", "input.9-1", "-"],
    "COMBO": ["wibble", 3, None, [], ""],
}
CONNECTED = {
    "INT": "PrimitiveInt",
    "FLOAT": "PrimitiveFloat",
    "STRING": "PrimitiveString",
    "BOOLEAN": "PrimitiveBoolean",
}
_LARGEST = 2**63 - 1


STRANGELY = ("a strange value", "a strange connected value", "a missing input")


def make_mistakes(rng: random.Random, run: Run, object_info: ObjectInfo) -> None:
    """Make one or two mistakes in the run's graph."""
    for _ in range(rng.choice([1, 1, 1, 2])):
        name = rng.choice([*MISTAKES, *STRANGELY * 2])
        if name in STRANGELY:
            run.mistakes += _strange(rng, run, object_info, name)
        elif MISTAKES[name](rng, run):
            run.mistakes.append(name)
    # Two may cancel each other, and a strange value may be a good one.
    run.must_refuse = len(run.mistakes) == 1 and run.mistakes[0] in MISTAKES


def _strange(rng: random.Random, run: Run, object_info: ObjectInfo, how: str) -> list[str]:
    """Give an input of one of the pack's nodes a value that it was not made for; what was done, if anything."""
    ours = [node_id for node_id, node in run.prompt.items() if node["class_type"] in OURS]
    if not ours:
        return []
    node = run.prompt[rng.choice(ours)]
    sections = object_info[node["class_type"]]["input"]
    specs = {name: spec for section in ("required", "optional") for name, spec in sections.get(section, {}).items()}
    if how == "a missing input":
        name = rng.choice(list(node["inputs"]))
        del node["inputs"][name]
        return [f"no {node['class_type']}.{name}"]
    names = [name for name, spec in specs.items() if _kind(spec) in STRANGE]
    if not names:
        return []
    name = rng.choice(names)
    kind = _kind(specs[name])
    value = rng.choice(STRANGE[kind])
    if how == "a strange connected value" and kind in CONNECTED and not isinstance(value, list):
        node["inputs"][name] = _connected(run, kind, value)
    else:
        node["inputs"][name] = value
    return [f"{node['class_type']}.{name} = {str(value)[:20]!r}" + (" connected" if "connected" in how else "")]


def _kind(spec: list[Any]) -> str:
    return "COMBO" if isinstance(spec[0], list) else str(spec[0])


def _connected(run: Run, kind: str, value: Any) -> list[Any]:
    if kind == "INT" and isinstance(value, float):
        value = _LARGEST
    node_id = f"{len(run.prompt) + 1}"
    run.prompt[node_id] = {"class_type": CONNECTED[kind], "inputs": {"value": value}}
    return [node_id, 0]


def _inputs(run: Run, what: str) -> dict[str, Any] | None:
    return run.prompt[run.nodes[what]]["inputs"] if what in run.nodes else None


def _set(what: str, **values: Any) -> Mistake:
    """The mistake of setting inputs of a node to these values."""

    def mistake(rng: random.Random, run: Run) -> bool:
        inputs = _inputs(run, what)
        if inputs is not None:
            inputs.update(values)
        return inputs is not None

    return mistake


def _another_family(rng: random.Random, run: Run) -> str:
    """One whose styles and trajectories do not fit the run's model."""
    return rng.choice([family for family in FAMILIES if family.split("_")[0] != run.family.split("_")[0]])


def _no_image_model(rng: random.Random, run: Run) -> bool:
    if SHARE not in run.nodes:
        return False
    run.prompt[run.nodes["model"]]["inputs"]["family"] = "svd"
    return True


def _other_size_sampled(rng: random.Random, run: Run) -> bool:
    """The empty latent that was there before Reference Latent goes to the sampler, in another size."""
    if REFERENCE not in run.nodes:
        return False
    for node in list(run.prompt.values()):
        if node["class_type"] in SAMPLERS:
            node["inputs"]["latent_image"] = _added(run, "EmptyLatentImage", width=48, height=32, batch_size=2)
    return True


def _another_batch_sampled(rng: random.Random, run: Run) -> bool:
    """An empty latent goes to the sampler in place of Reference Latent's batch, in the same size."""
    if REFERENCE not in run.nodes:
        return False
    picture = run.prompt[run.nodes["reference picture"]]["inputs"]
    size = {name: 8 * picture[name] for name in ("width", "height")}
    for node in list(run.prompt.values()):
        if node["class_type"] in SAMPLERS:
            node["inputs"]["latent_image"] = _added(run, "EmptyLatentImage", **size, batch_size=rng.choice([1, 2, 3]))
    return True


def _part_of_the_batch(how: str, **settings: Any) -> Mistake:
    """A sampler gets Reference Latent's batch without its reference, or one picture after the other."""

    def mistake(rng: random.Random, run: Run) -> bool:
        if REFERENCE not in run.nodes:
            return False
        batch = [run.nodes[REFERENCE], 1]
        for node in list(run.prompt.values()):
            if node["class_type"] in SAMPLERS and node["inputs"]["latent_image"] == batch:
                name = "latents" if how == "RebatchLatents" else "samples"
                node["inputs"]["latent_image"] = _added(run, how, **{name: batch}, **settings)
        return True

    return mistake


def _pictures(**settings: Any) -> Mistake:
    """Reference Latent gets pictures that are none, or that do not fit its reference."""

    def mistake(rng: random.Random, run: Run) -> bool:
        inputs = _inputs(run, REFERENCE)
        if inputs is None:
            return False
        picture = {**run.prompt[run.nodes["reference picture"]]["inputs"], "images": 2, **settings}
        inputs["pictures"] = _added(run, f"{TEST}Latent", **picture)
        return True

    return mistake


def _added(run: Run, node: str, /, **inputs: Any) -> list[Any]:
    node_id = f"{len(run.prompt) + 1}"
    run.prompt[node_id] = {"class_type": node, "inputs": inputs}
    return [node_id, 0]


def _trajectory_of(change: str) -> Mistake:
    """Reference Latent gets a trajectory of something else."""

    def mistake(rng: random.Random, run: Run) -> bool:
        inputs, inversion = _inputs(run, REFERENCE), _inputs(run, INVERT)
        if inputs is None or inversion is None:
            return False
        if change == "another model":
            inversion["model"] = _added(run, f"{TEST}Model", family=_another_family(rng, run))
            return True
        height, width = (10, 10) if change == "another size" else (8, 8)
        inversion["latent"] = _added(
            run, f"{TEST}Latent", kind="picture", images=1, height=height, width=width, seed=1000
        )
        return True

    return mistake


def _style_of_another_model(rng: random.Random, run: Run) -> bool:
    """A style's reference for a model of another kind."""
    inputs = _inputs(run, REFERENCE)
    if inputs is None:
        return False
    inputs["reference"] = _added(run, LOAD, name=style_name(_another_family(rng, run)), model=[run.nodes["model"], 0])
    return True


def _no_mask(rng: random.Random, run: Run) -> bool:
    """A map of what is under a mask, without one."""
    inputs = _inputs(run, MAP)
    if inputs is None:
        return False
    inputs.pop("mask", None)
    inputs["look_up"] = "mask"
    return True


def _other_pictures(rng: random.Random, run: Run) -> bool:
    """A map over pictures of another sampler."""
    inputs = _inputs(run, MAP)
    if inputs is None:
        return False
    inputs["images"] = _added(run, "EmptyImage", width=64, height=64, batch_size=7, color=0)
    return True


def _only_an_offset(rng: random.Random, run: Run) -> bool:
    inputs = _inputs(run, REFERENCE)
    if inputs is None:
        return False
    inputs.pop("trajectory", None)
    inputs["offset"] = 5
    return True


def _wrong_wire(rng: random.Random, run: Run) -> bool:
    """A connection from an output of another kind."""
    ours = [node for node in run.prompt.values() if node["class_type"] in (SHARE, REFERENCE, INVERT, SAVE)]
    if not ours:
        return False
    rng.choice(ours)["inputs"]["model"] = _added(run, "EmptyLatentImage", width=64, height=64, batch_size=1)
    return True


MISTAKES: dict[str, Mistake] = {
    "blocks that are none": _set(SHARE, blocks="input.4, wibble.2"),
    "blocks that the model has not": _set(SHARE, blocks="middle, input.99"),
    "blocks backwards": _set(SHARE, blocks="output.5-3"),
    "more than whole strength": _set(SHARE, strength=1.5),
    "an empty range": _set(SHARE, start_percent=0.8, end_percent=0.2),
    "a percentage": _set(SHARE, end_percent=80),
    "no prompt": _set(PROMPTS, prompts=" \n\t\n"),
    "no text encoder": _set("clip", missing=True),
    "a video model": _no_image_model,
    "an empty reference": _set("reference picture", kind="zeros"),
    "a broken reference": _set("reference picture", kind="nan"),
    "several references": _set("reference picture", images=3),
    "a reference of another model": _set("reference picture", kind="16 channels"),
    "a video as the reference": _set("reference picture", kind="video"),
    "an empty picture apart": _set("picture apart", kind="zeros"),
    "a broken picture apart": _set("picture apart", kind="nan"),
    "several pictures apart": _set("picture apart", images=3),
    "a picture apart of another model": _set("picture apart", kind="16 channels"),
    "a weight below nought": _set(APART, weight=-1.0),
    "another size sampled": _other_size_sampled,
    "another batch sampled": _another_batch_sampled,
    "a target without the reference": _part_of_the_batch("LatentFromBatch", batch_index=1, length=1),
    "one picture after the other": _part_of_the_batch("RebatchLatents", batch_size=1),
    "pictures of another size": _pictures(height=20, width=20),
    "pictures of another model": _pictures(kind="16 channels"),
    "broken pictures": _pictures(kind="nan"),
    "a trajectory of another picture": _trajectory_of("another picture"),
    "a trajectory of another size": _trajectory_of("another size"),
    "a trajectory of another model": _trajectory_of("another model"),
    "an offset without a trajectory": _only_an_offset,
    "a style of another model": _style_of_another_model,
    "a style that is not there": _set("conditioning of a style", name="../../secret.safetensors"),
    "a name that leads out": _set(SAVE, filename_prefix="../../x"),
    "a wrong connection": _wrong_wire,
    "more than whole protection": _set(MASKS, protect_content=1.5),
    "a map of a part without a mask": _no_mask,
    "a map over other pictures": _other_pictures,
    "a map of blocks that are none": _set(MAP, blocks="wibble.2"),
    "a map of an empty range": _set(MAP, start_percent=0.9, end_percent=0.1),
    "a point outside": _set(MAP, look_up="point", x=1.5),
}
"""All of these have to be refused."""
