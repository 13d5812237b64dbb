"""A style goes from one server to another in a file, and nothing else that is called a style gets in."""

from __future__ import annotations

import asyncio
import copy
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import aiohttp
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from style_aligned.shared_attention.style_file import decode, encode

from devtools.comfyui.client import Prompt
from devtools.comfyui.server import PACK_NAME, PromptFailed, PromptRejected, Server
from devtools.comfyui.workflow import set_widget, to_prompt

LOAD, SAVE, PROMPTS = "StyleAlignedLoadStyle", "StyleAlignedSaveStyle", "StyleAlignedPrompts"
FROM_IMAGE = ["style_from_image", "style_from_image_inverted"]


@pytest.fixture(scope="module")
def second(comfyui_path: Path) -> Iterator[Server]:
    """Another server process, with folders of its own and no picture in them."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OMP_NUM_THREADS", "1")
        with Server(comfyui_path, cpu=True) as server:
            yield server


def node_of(prompt: Prompt, kind: str) -> tuple[str, dict[str, Any]]:
    """Id and inputs of the only node of a kind."""
    [(node_id, node)] = [(node_id, node) for node_id, node in prompt.items() if node["class_type"] == kind]
    return node_id, node["inputs"]


def saving(prompt: Prompt) -> Prompt:
    """The set of a given picture, and its reference kept as a style."""
    prompt = copy.deepcopy(prompt)
    reference, prompts = node_of(prompt, "StyleAlignedReferenceLatent")[1], node_of(prompt, PROMPTS)
    inputs = {"model": reference["model"], "reference": reference["reference"], "filename_prefix": "sets/icon"}
    inputs |= {"conditioning": [prompts[0], 0], "reference_prompt": "a star"}
    inputs |= {"trajectory": reference["trajectory"]} if "trajectory" in reference else {}
    prompt["keep"] = {"class_type": SAVE, "inputs": inputs}
    return with_latents(prompt)


def loading(prompt: Prompt, name: str) -> Prompt:
    """The same set, its reference from a style; nothing that reads or inverts the picture is left."""
    prompt = copy.deepcopy(prompt)
    prompts, reference = node_of(prompt, PROMPTS)[1], node_of(prompt, "StyleAlignedReferenceLatent")[1]
    if "reference" not in prompts:
        prompts["prompts"] = prompts["prompts"].split("\n", 1)[1]
    prompts["reference"], reference["reference"], reference["trajectory"] = ["style", 2], ["style", 0], ["style", 1]
    prompt["style"] = {"class_type": LOAD, "inputs": {"name": name, "model": reference["model"]}}
    for kind in ("LoadImage", "ImageScale", "VAEEncode", "StyleAlignedInvert"):
        for node_id in [node_id for node_id, node in prompt.items() if node["class_type"] == kind]:
            del prompt[node_id]
    return with_latents(prompt)


def with_latents(prompt: Prompt) -> Prompt:
    samples = [node_of(prompt, "KSampler")[0], 0]
    inputs = {"samples": samples, "filename_prefix": "latents/set"}
    return {**prompt, "latents": {"class_type": "SaveLatent", "inputs": inputs}}


def drawn(server: Server, prompt: Prompt) -> tuple[torch.Tensor, dict[str, Any]]:
    """The set's latents, as sampled, and what the nodes told the browser."""
    result = server.run(prompt)
    [told] = result.outputs["latents"]["latents"]
    path = server.base / told["type"] / told["subfolder"] / told["filename"]
    return load_file(path)["latent_tensor"], result.outputs


def upload(server: Server, content: bytes, name: str) -> str:
    """As the button of Load Style does; the name that the file got."""

    async def post() -> str:
        form = aiohttp.FormData({"type": "input", "subfolder": "style_references"})
        form.add_field("image", content, filename=name)
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{server.url}/api/upload/image", data=form) as answer,
        ):
            return str((await answer.json())["name"])

    return asyncio.run(post())


@pytest.fixture
def saved(server: Server, object_info, icon_graph) -> Callable[[str], tuple[Prompt, torch.Tensor, Path]]:
    """Draw a workflow's set on the first server and keep its style: the prompt, the latents and the file."""

    def run(name: str) -> tuple[Prompt, torch.Tensor, Path]:
        prompt = to_prompt(icon_graph(name), object_info)
        latents, outputs = drawn(server, saving(prompt))
        [path] = outputs["keep"]["text"]
        return prompt, latents, server.output / path

    return run


@pytest.mark.parametrize("name", FROM_IMAGE)
def test_another_server_draws_the_same_set_from_the_file(saved, second: Server, name: str):
    prompt, latents, path = saved(name)
    uploaded = upload(second, path.read_bytes(), path.name)
    continued, _ = drawn(second, loading(prompt, uploaded))
    assert len(latents) > 2
    assert torch.equal(continued, latents)
    assert len({row.numpy().tobytes() for row in latents}) == len(latents)


def test_a_continued_set_has_the_reference_and_new_pictures(draw, icon_graph, object_info):
    graph = icon_graph("continue_style")
    reference, *pictures = draw(graph)
    other = set_widget(graph, PROMPTS, "prompts", "a house\na heart", object_info)
    same_reference, *others = draw(other)
    assert np.array_equal(reference, same_reference)
    assert (len(pictures), len(others)) == (3, 2)


def test_what_was_saved_is_reported_listed_and_never_replaced(server: Server, saved):
    first = saved("style_from_image")[2]
    second = first
    for _ in range(5):  # the server forgets its outputs when it finds time to, and until then saves nothing again
        server.post("/free", {"free_memory": True})
        second = saved("style_from_image")[2]
        if second != first:
            break
    assert first != second
    assert torch.equal(decode(first.read_bytes()).reference, decode(second.read_bytes()).reference)
    listed = server.object_info()[LOAD]["input"]["required"]["name"][1]["options"]
    assert {f"sets/{first.name}", f"sets/{second.name}"} <= set(listed)


def test_another_file_under_the_same_name_counts(server: Server, saved):
    """Though nothing in the graph has changed, and the server keeps what its nodes gave before."""
    inverted = saved("style_from_image_inverted")[2]
    prompt, latents, path = saved("style_from_image")
    name = upload(server, path.read_bytes(), "icon.safetensors")
    again = loading(prompt, name)
    assert torch.equal(drawn(server, again)[0], latents)
    (server.base / "input" / "style_references" / name).write_bytes(inverted.read_bytes())
    assert not torch.equal(drawn(server, again)[0], latents)


@pytest.fixture
def outside(server: Server, saved_style: Path) -> Path:
    """A good style in the server's base, but in none of its folders for styles."""
    path = server.base / "user" / "secret.safetensors"
    path.write_bytes(saved_style.read_bytes())
    return path


def refused(server: Server, prompt: Prompt) -> str:
    with pytest.raises(PromptRejected) as error:
        server.run(prompt)
    assert server.alive()
    return str(error.value)


def test_files_outside_the_folders_are_refused(server: Server, object_info, icon_graph, outside: Path):
    (outside.parents[1] / "output" / "style_references" / "link.safetensors").symlink_to(outside)
    prompt = to_prompt(icon_graph("continue_style"), object_info)
    for name in (str(outside), "../../user/secret.safetensors", "link.safetensors", "nothing.safetensors", "", 7):
        node_of(prompt, LOAD)[1]["name"] = name
        assert "have no style" in refused(server, prompt), name


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: content[:-1], "truncated or damaged"),
        (lambda content: content[:-1] + bytes([content[-1] ^ 1]), "not what was saved"),
        (lambda content: (2**40).to_bytes(8, "little") + content[8:], "truncated"),
        (lambda content: b"\x80\x04cos\nsystem\n.", "truncated"),
    ],
    ids=["cut", "bit", "header", "pickle"],
)
def test_damaged_files_are_refused_before_anything_runs(server, object_info, icon_graph, saved_style, damage, said):
    name = upload(server, damage(saved_style.read_bytes()), "damaged.safetensors")
    prompt = to_prompt(icon_graph("continue_style"), object_info)
    node_of(prompt, LOAD)[1]["name"] = name
    assert said in refused(server, prompt)


@pytest.mark.parametrize("prefix", ["../outside", "/tmp/outside", r"..\outside", "C:/outside", ""])
def test_names_that_lead_out_are_refused(server: Server, object_info, icon_graph, prefix: str):
    prompt = to_prompt(icon_graph("save_style"), object_info)
    node_of(prompt, SAVE)[1]["filename_prefix"] = prefix
    del prompt[node_of(prompt, "SaveImage")[0]]  # which the server would run all the same
    assert "leads out of the folder" in refused(server, prompt)


def test_a_style_of_another_model_is_refused(server: Server, object_info, icon_graph, saved_style, expected_errors):
    """A style whose file says so; the host's tests have models of several kinds."""
    other = replace(decode(saved_style.read_bytes()), model="SDXL")
    prompt = to_prompt(icon_graph("continue_style"), object_info)
    node_of(prompt, LOAD)[1]["name"] = upload(server, encode(other), "other.safetensors")
    expected_errors.append("ValueError: The style 'other.safetensors' was made with another kind of model")
    with pytest.raises(PromptFailed, match=r"SDXL with IconLatent latents.*is Icons with"):
        server.run(prompt)


def test_a_style_without_conditioning_says_what_to_do(server, object_info, icon_graph, saved_style, expected_errors):
    bare = replace(decode(saved_style.read_bytes()), conditioning=None)
    prompt = to_prompt(icon_graph("continue_style"), object_info)
    node_of(prompt, LOAD)[1]["name"] = upload(server, encode(bare), "bare.safetensors")
    expected_errors.append("ValueError: The reference input of Prompts has no conditioning")
    with pytest.raises(PromptFailed, match=r"saved without one\. Disconnect it"):
        server.run(prompt)


def test_the_browser_gets_the_script_and_what_it_imports(server: Server):
    script = f"/extensions/{PACK_NAME}/js/style_files.js"
    assert script in server.get("/extensions")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(server.url + script, timeout=30) as answer:
        imported = [line.split('"')[1] for line in answer.read().decode().splitlines() if line.startswith("import")]
    assert len(imported) == 3
    for path in imported:
        assert opener.open(server.url + urljoin(script, path), timeout=30).status == 200
