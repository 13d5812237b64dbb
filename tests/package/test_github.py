"""What GitHub is told to do: the files and commands that its workflows name are there, and no rights are to spare."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from devtools.comfyui.fetch import DEFAULT_RELEASE, RELEASES
from devtools.comfyui.matrix import TOUCH_THE_HOST
from devtools.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
IDS = [path.stem for path in WORKFLOWS]


def read(path: Path) -> dict[str, Any]:
    loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    loaded["on"] = loaded.pop(True)  # in YAML 1.1 "on" is a truth value
    return loaded


def workflow(name: str) -> dict[str, Any]:
    return read(ROOT / ".github" / "workflows" / f"{name}.yml")


def steps(path: Path) -> Iterator[dict[str, Any]]:
    for job in read(path)["jobs"].values():
        yield from job.get("steps", [])


def lines(path: Path) -> Iterator[str]:
    """Every line of the scripts."""
    for step in steps(path):
        yield from step.get("run", "").splitlines()


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.stem)
def test_it_is_yaml(path):
    assert yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=IDS)
def test_a_workflow_may_read_and_no_more_but_where_it_says_why(path):
    assert read(path)["permissions"] == {"contents": "read"}
    text = path.read_text(encoding="utf-8")
    assert len(re.findall(r": write\b", text)) == len(re.findall(r": write # to \w+", text))
    assert all(
        step["with"]["persist-credentials"] is False for step in steps(path) if "checkout" in step.get("uses", "")
    )


@pytest.mark.parametrize("path", WORKFLOWS, ids=IDS)
def test_runs_do_not_pile_up_and_end(path):
    assert read(path)["concurrency"]["group"]
    assert all("uses" in job or job["timeout-minutes"] <= 90 for job in read(path)["jobs"].values())


@pytest.mark.parametrize("path", WORKFLOWS, ids=IDS)
def test_actions_are_pinned_and_workflows_are_there(path):
    used = [step["uses"] for step in steps(path) if "uses" in step]
    assert used
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", action) for action in used)
    called = [job["uses"] for job in read(path)["jobs"].values() if "uses" in job]
    assert all("workflow_call" in read(ROOT / file)["on"] for file in called)


@pytest.mark.parametrize("path", WORKFLOWS, ids=IDS)
def test_scripts_run_what_there_is(path):
    """And get what others may have written, such as a branch's name, by the environment alone."""
    words = [shlex.split(line) for line in lines(path) if "python " in line]
    assert words
    for _, *rest in words:
        if rest[0] == "-m":
            assert importlib.util.find_spec(rest[1]) is not None
        else:
            assert (ROOT / rest[0]).is_file()
            assert rest[1] in COMMANDS
    assert not any("${{" in line for line in lines(path))


def test_every_supported_host_is_tested():
    runs = workflow("test")["jobs"]["test"]["strategy"]["matrix"]["include"]
    must_pass = [run for run in runs if not run.get("smoke")]
    assert {run["host"] for run in must_pass} == set(RELEASES), (
        "devtools/comfyui/fetch.py has other releases than test.yml"
    )
    for run in must_pass:
        assert run.get("tests", "").split() == ([] if run["host"] == DEFAULT_RELEASE else list(TOUCH_THE_HOST))
    assert all((ROOT / path).is_dir() for run in runs for path in run.get("tests", "").split())
    assert {run["python"] for run in must_pass if run["host"] == DEFAULT_RELEASE} == {"3.10", "3.13"}


def test_what_the_cache_depends_on_is_there():
    text = (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
    assert f"if: matrix.host == '{DEFAULT_RELEASE}'" in text
    patterns = re.findall(r"'([^']+)'", re.search(r"hashFiles\((.*?)\)", text)[1])
    assert len(patterns) == 2
    assert all(list(ROOT.glob(pattern)) for pattern in patterns)


def test_nothing_is_published_untested():
    publish = workflow("publish")
    assert list(publish["on"]) == ["push"]
    assert list(publish["on"]["push"]) == ["tags"]
    jobs = publish["jobs"]
    assert jobs["tests"]["uses"] == "./.github/workflows/test.yml"
    assert "devtools.publishing.release" in jobs["ready"]["steps"][-1]["run"]
    assert set(jobs["registry"]["needs"]) == {"ready", "tests"}
    assert jobs["release"]["needs"] == "registry"


def test_one_step_gets_the_registrys_token():
    [(path, step)] = [(path, step) for path in WORKFLOWS for step in steps(path) if "secrets." in str(step)]
    assert path.stem == "publish"
    assert step["uses"].startswith("Comfy-Org/publish-node-action@")
    assert step["with"] == {"personal_access_token": "${{ secrets.REGISTRY_ACCESS_TOKEN }}"}
    assert (ROOT / "docs" / "releasing.md").read_text(encoding="utf-8").count("REGISTRY_ACCESS_TOKEN") == 1
