"""Tests on a real ComfyUI server with the pack linked in; one server for all of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from releases import MINIATURES, skip_without_its_model

from devtools.comfyui.server import Result, Server, link_folder
from devtools.comfyui.workflow import Graph, ObjectInfo, set_widget, to_prompt
from devtools.pictures.thumbnails import CONTINUING, WORKFLOWS, place_pictures, with_icon_model, with_size

Pictures = list[np.ndarray]

_TRACEBACK = re.compile(r"Traceback \(most recent call last\):\n(?:[ \t].*\n|\n)*(?P<error>.*)")


@pytest.fixture(scope="session")
def expected_errors() -> list[str]:
    """How the errors begin that tests provoke on purpose: the server may log tracebacks of these, and no others."""
    return []


@pytest.fixture(scope="session")
def server(
    comfyui_path: Path, expected_errors: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """On the CPU, where the same graph gives the same picture to the last bit.

    On one thread: with pictures this small several wait for one another much of the time, and on a busy machine nearly
    all of it. With the miniatures of transformers, which workflows find under the names of the published files.
    """
    base = tmp_path_factory.mktemp("base")
    (base / "custom_nodes").mkdir()
    link_folder(MINIATURES, base / "custom_nodes" / MINIATURES.name)
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("OMP_NUM_THREADS", "1")
            server = stack.enter_context(Server(comfyui_path, base, cpu=True))
        place_pictures(server)
        yield server
        errors = [found["error"] for found in _TRACEBACK.finditer(server.log_text())]
        unexpected = [error for error in errors if not error.startswith(tuple(expected_errors))]
        assert not unexpected, f"the server logged tracebacks: {unexpected}"


@pytest.fixture(scope="session")
def object_info(server: Server) -> ObjectInfo:
    return server.object_info()


@pytest.fixture
def icon_graph(object_info: ObjectInfo, request: pytest.FixtureRequest) -> Callable[..., Graph]:
    """A shipped workflow, by name, made for a small model and few steps; `settings` are the sampler's.

    The small model is the icon model, or for a transformer its miniature, which the workflow finds as it is.
    """

    def prepare(name: str = "style_aligned_sd15", **settings: Any) -> Graph:
        if name in CONTINUING:
            request.getfixturevalue("saved_style")
        return few_steps(name, object_info, **settings)

    return prepare


@pytest.fixture
def make_small(object_info: ObjectInfo) -> Callable[[Graph], Graph]:
    """A graph made for a small model and few steps."""
    return lambda graph: made_small(graph, object_info)


def few_steps(name: str, object_info: ObjectInfo, **settings: Any) -> Graph:
    return made_small(json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8")), object_info, **settings)


def made_small(graph: Graph, object_info: ObjectInfo, **settings: Any) -> Graph:
    kinds = {node["type"] for node in graph["nodes"]}
    if "UNETLoader" in kinds:
        skip_without_its_model(graph, object_info)
        graph = with_size(graph, object_info)
    else:
        graph = with_icon_model(graph, object_info)
    if "StyleAlignedInvert" in kinds:
        graph = set_widget(graph, "StyleAlignedInvert", "steps", 6, object_info)
    for setting, value in {"steps": 3, **settings}.items():
        graph = set_widget(graph, "KSampler", setting, value, object_info)
    return graph


@pytest.fixture(scope="session")
def saved_style(server: Server, object_info: ObjectInfo) -> Path:
    """The file that the workflow which saves a style has left, under the name that the one to continue it has in it."""
    server.run(to_prompt(few_steps("save_style", object_info), object_info))
    [path] = server.output.glob("style_references/*_00001_.safetensors")
    return path


@pytest.fixture
def draw(server: Server, object_info: ObjectInfo) -> Callable[[Graph], Pictures]:
    """Run a graph on the server; its saved pictures in order."""

    def run(graph: Graph) -> Pictures:
        return saved_pictures(server.run(to_prompt(graph, object_info)))

    return run


def saved_pictures(result: Result) -> Pictures:
    return [np.asarray(Image.open(path)) for paths in result.images.values() for path in paths]
