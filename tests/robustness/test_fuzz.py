"""Random graphs through one server; the whole program is `python -m devtools.fuzz --runs 2000`."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.comfyui.client import PromptFailed, PromptRejected
from devtools.comfyui.server import PACK_NAME, Server
from devtools.fuzz import outcomes
from devtools.fuzz.__main__ import summary
from devtools.fuzz.campaign import Campaign, FuzzedServer, replay
from devtools.fuzz.graphs import APART, OURS, PROMPTS, REFERENCE, SAVE, Run, random_run
from devtools.fuzz.mistakes import MISTAKES, make_mistakes
from devtools.fuzz.outcomes import BUG, FINISHED, HOST, INTERRUPTED, REFUSED, REJECTED, TROUBLE, Outcome
from devtools.fuzz.twins import both, twins
from devtools.fuzz.values import HOST_PATCHES

RUNS = 80
SEED = 1


@pytest.fixture(scope="module")
def server(comfyui_path: Path) -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OMP_NUM_THREADS", "1")
        with FuzzedServer(comfyui_path) as server:
            yield server


@pytest.fixture(scope="module")
def campaign(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    return Campaign(server, SEED, tmp_path_factory.mktemp("failures"))


@pytest.mark.thorough
def test_nothing_goes_wrong(server: Server, campaign: Campaign):
    report = campaign.run(0, RUNS)
    assert not report.failures, "\n\n".join(report.failures)
    assert server.alive()
    assert sum(report.counts.values()) == RUNS
    for kind in (FINISHED, REFUSED, REJECTED, TROUBLE, INTERRUPTED):
        assert report.counts[kind], kind
    assert len(report.resident) >= RUNS // 40
    assert any(f"{RUNS} runs" in line for line in summary(report, 1.0))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_every_mistake_is_refused(campaign: Campaign, mistake: str):
    """In the first graph that has a place for it, and no other node that could stumble over it before."""
    runs = (random_run(SEED, number, campaign.object_info) for number in range(1000))
    ours = (run for run in runs if not run.trouble and not set(run.nodes) & set(HOST_PATCHES))
    run = next(run for run in ours if MISTAKES[mistake](random.Random(0), run))
    run.mistakes, run.must_refuse = [mistake], True
    assert campaign.outcome(run).kind in (REFUSED, REJECTED)


def divides_by_nought(run: Run) -> bool:
    return any(
        (node["inputs"].get("scheduler"), node["inputs"].get("steps"), node["inputs"].get("denoise"))
        == ("kl_optimal", 1, 1.0)
        for node in run.prompt.values()
    )


def test_what_goes_wrong_without_the_pack_too_is_the_hosts(campaign: Campaign):
    """Here the scheduler, which divides by nought for a single step, in a graph that saves a style as well."""
    runs = (random_run(SEED, number, campaign.object_info) for number in range(10_000))
    others = {APART, REFERENCE, *HOST_PATCHES}
    plain = (run for run in runs if not run.trouble and not others & run.nodes.keys())
    run = next(run for run in plain if SAVE in run.nodes and divides_by_nought(run))
    for node in run.prompt.values():
        if "sampler_name" in node["inputs"]:
            node["inputs"]["sampler_name"] = "euler"  # some samplers get over it
    assert campaign.outcome(run) == Outcome(HOST, "the samples are not finite")


def test_twins_are_told_apart(campaign: Campaign):
    """The pairs of a graph with two references, and one that is no pair: another seed."""
    runs = (random_run(SEED, number, campaign.object_info) for number in range(1000))
    two = (run for run in runs if [n["class_type"] for n in run.prompt.values()].count(APART) == 2 and not run.trouble)
    run = next(run for run in two if not set(run.nodes) & {*HOST_PATCHES, REFERENCE, PROMPTS})
    pairs = {pair.what: pair for pair in twins(run)}
    assert len(pairs) == 4
    for pair in pairs.values():
        assert campaign.distance(run, pair.prompt) <= pair.most, pair.what
    other = copy.deepcopy(run.prompt)
    for node in other.values():
        for seed in {"seed", "noise_seed"} & node["inputs"].keys():
            node["inputs"][seed] += 1
    assert campaign.distance(run, both(run.prompt, other, run.nodes["result"])) > 1e-3


def test_what_is_left_behind_is_found(campaign: Campaign):
    """Whatever changes between the first look and a later one."""
    before, run = campaign.first, random_run(SEED, 0, campaign.object_info)
    other = {"rows": {"sd15": [1]}, "models": {"sd15's weights": 1}, "objects": {"ReferenceRow": 1}}
    try:
        campaign.first = {**before, **other}
        campaign.check(run)
    finally:
        campaign.first = before
    found, campaign.report.failures = campaign.report.failures, []
    for what in ("plain pictures", "models", "objects of the pack"):
        assert any(f"{what} changed" in failure for failure in found), what
    for failure in found:
        assert f"--seed {SEED} --first 0 --runs 1" in failure
        assert json.dumps(run.prompt) in failure


def test_a_graph_is_replayed(server: Server, campaign: Campaign):
    run = next(
        run for run in (random_run(SEED, number, campaign.object_info) for number in range(100)) if not run.trouble
    )
    assert '"finite": true' in replay(server, run.prompt)


def test_a_run_is_drawn_again_from_its_seed(campaign: Campaign):
    def drawn(seed: int) -> list[Run]:
        runs = [random_run(seed, number, campaign.object_info) for number in range(50)]
        for run in runs:
            make_mistakes(random.Random(seed), run, campaign.object_info)
        return runs

    assert repr(drawn(3)) == repr(drawn(3))
    assert repr(drawn(3)) != repr(drawn(4))
    assert {node["class_type"] for run in drawn(3) for node in run.prompt.values()} >= set(OURS)


def failure(kind: str, message: str, file: str, line: str) -> PromptFailed:
    """As the server tells of it."""
    frames = [("/x/execution.py", "run()"), (file, line)]
    traceback = [f'  File "{path}", line 2, in f\n    {code}\n' for path, code in frames]
    return PromptFailed({"node_id": 1, "exception_type": kind, "exception_message": message, "traceback": traceback})


@pytest.mark.parametrize(
    ("kind", "file", "line", "clear"),
    [
        ("ValueError", f"/x/{PACK_NAME}/nodes/limits.py", "raise ValueError(", True),
        ("ValueError", f"/x/{PACK_NAME}/nodes/limits.py", "int(text)", False),
        ("TypeError", f"/x/{PACK_NAME}/nodes/limits.py", "raise TypeError(", False),
        ("ValueError", "/x/comfy/samplers.py", "raise ValueError(", False),
    ],
)
def test_only_the_packs_own_words_are_clear(kind: str, file: str, line: str, clear: bool):
    run = Run(0, {}, "sd15", mistakes=["some"])
    assert (outcomes.of_failure(run, failure(kind, "no.", file, line)).kind == REFUSED) is clear
    good = Run(0, {}, "sd15")
    assert outcomes.of_failure(good, failure(kind, "no.", file, line)).kind == BUG


def test_an_exception_in_validation_is_a_bug():
    def rejected(kind: str) -> PromptRejected:
        return PromptRejected("no", {"1": {"class_type": "X", "errors": [{"type": kind, "message": "m"}]}})

    run = Run(0, {}, "sd15", mistakes=["some"])
    assert outcomes.of_rejection(run, rejected("exception_during_validation")).kind == BUG
    assert outcomes.of_rejection(run, rejected("custom_validation_failed")).kind == REFUSED
    assert outcomes.of_rejection(run, rejected("value_bigger_than_max")).kind == REJECTED
    assert outcomes.of_rejection(Run(0, {}, "sd15"), rejected("value_bigger_than_max")).kind == BUG
