"""Many runs on one server, and between them looks at what the runs before have left."""

from __future__ import annotations

import collections
import json
import random
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from devtools import ROOT
from devtools.comfyui.client import Prompt, PromptFailed, PromptRejected
from devtools.comfyui.server import Server, ServerError
from devtools.comfyui.workflow import ObjectInfo
from devtools.fuzz import outcomes, plain
from devtools.fuzz.graphs import OURS, STYLES, TEST, Run, random_run
from devtools.fuzz.mistakes import make_mistakes
from devtools.fuzz.outcomes import BUG, FINISHED, HOST, Outcome
from devtools.fuzz.twins import both, twins

EXTENSION = ROOT / "tests" / "robustness" / "extension"
MISTAKEN = 0.35
"""The share of graphs with mistakes in them."""
CHECK_EVERY = 40
WAITING = 7919  # the total of the progress by which the tests' trouble asks to be interrupted
RUN_SECONDS = 300.0


class FuzzedServer(Server):
    """A server with the pack and the tests' own nodes, on the CPU, where the same graph gives the same bits."""

    def __init__(self, comfyui: Path) -> None:
        super().__init__(comfyui, with_toy=False, cpu=True)

    def _lay_out(self) -> None:
        super()._lay_out()
        self._link(EXTENSION, self.base / "custom_nodes" / "style-aligned-tests")


@dataclass
class Report:
    """What came of all runs: how many of each kind, the failures with their graphs, and memory over time."""

    counts: collections.Counter[str] = field(default_factory=collections.Counter)
    mistakes: collections.Counter[str] = field(default_factory=collections.Counter)
    compared: collections.Counter[str] = field(default_factory=collections.Counter)
    of_the_host: collections.Counter[str] = field(default_factory=collections.Counter)
    failures: list[str] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)
    tensors: list[int] = field(default_factory=list)
    slowest: tuple[float, int] = (0.0, 0)


class Campaign:
    """Runs of the program with `seed` on `server`."""

    def __init__(self, server: Server, seed: int, failures: Path | None = None) -> None:
        self.server = server
        self.seed = seed
        self.failures = failures
        self.report = Report()
        self.object_info: ObjectInfo = server.object_info()
        self.first: dict[str, Any] = {}
        for family in plain.FAMILIES:
            server.run(plain.save_prompt(family, STYLES))
        self._state()  # models change when they are loaded for the first time
        self.first = self._state()

    def run(self, first: int, runs: int) -> Report:
        """Runs `first` and on, with a check after every CHECK_EVERY and after each that did not finish as it should."""
        for number in range(first, first + runs):
            run = random_run(self.seed, number, self.object_info)
            rng = random.Random(f"{self.seed}/{number}/mistakes")
            if rng.random() < MISTAKEN:
                make_mistakes(rng, run, self.object_info)
            started = time.monotonic()
            outcome = self.outcome(run)
            self.report.slowest = max(self.report.slowest, (time.monotonic() - started, number))
            self._count(run, outcome)
            if outcome.kind == FINISHED and not run.mistakes and not run.trouble:
                self._compare(run)
            if number % CHECK_EVERY == CHECK_EVERY - 1 or outcome.kind == BUG or (run.trouble and rng.random() < 0.1):
                self.check(run)
        return self.report

    def outcome(self, run: Run) -> Outcome:
        """Run a graph. What goes wrong may be the host's own: then it goes wrong without the pack as well."""
        try:
            outcome = outcomes.of_result(run, self.submit(run.prompt))
        except PromptRejected as rejection:
            return outcomes.of_rejection(run, rejection)
        except PromptFailed as failure:
            outcome = outcomes.of_failure(run, failure)
            if failure.node_type in OURS:
                return outcome
        if outcome.kind == BUG and self._same_without_the_pack(run, outcome):
            return Outcome(HOST, outcome.said)
        return outcome

    def submit(self, prompt: Prompt) -> Any:
        """Run a prompt, and interrupt it where it asks for that."""

        def progress(node_id: str, done: int, total: int) -> None:
            if total == WAITING and done:
                self.server.post("/interrupt", {})

        return self.server.run(prompt, progress, timeout=RUN_SECONDS)

    def _same_without_the_pack(self, run: Run, outcome: Outcome) -> bool:
        """Whether the host and its other nodes alone come to the same end."""
        prompt = plain.without_the_pack(run.prompt)
        nodes = {name: node for name, node in run.nodes.items() if node in prompt}
        without = replace(run, prompt=prompt, nodes=nodes, must_refuse=False)
        try:
            return outcomes.of_result(without, self.submit(without.prompt)) == outcome
        except PromptFailed as failure:
            return outcomes.alike(outcomes.words(failure), outcome.said.splitlines()[0])
        except PromptRejected:
            return False

    def _state(self) -> dict[str, Any]:
        """What the plain graphs give, and what is left on the server."""
        self.server.post("/history", {"clear": True})
        result = self.server.run(plain.check_prompt(), timeout=RUN_SECONDS)
        rows = {family: outcomes.told(result, f"result {family}")["rows"] for family in plain.FAMILIES}
        return {"rows": rows, **outcomes.told(result, "remains")}

    def _compare(self, run: Run) -> None:
        """Whether the pictures are those of the graphs that have to give the same."""
        for pair in twins(run):
            self.report.compared[pair.what] += 1
            found = self.distance(run, pair.prompt)
            if isinstance(found, str) or not found <= pair.most:
                same = self.distance(run, both(run.prompt, run.prompt, run.nodes["result"]))
                self._fail(run, f"{pair.what}, but the pictures differ by {found} (those of one graph twice by {same})")

    def distance(self, run: Run, prompt: Prompt) -> float | str:
        """How far the pictures of the two graphs in `prompt` are apart, or what went wrong."""
        try:
            return float(outcomes.told(self.submit(prompt), run.nodes["result"])["from_same"])
        except (PromptRejected, PromptFailed) as error:
            return str(error)

    def check(self, run: Run) -> None:
        """Compare with the first state: pictures to the bit, models, and nothing of the pack's left."""
        state = self._state()
        self.report.resident.append(state["resident"])
        self.report.tensors.append(state["tensors"])
        found = {
            "plain pictures": (self.first["rows"], state["rows"]),
            "models": (self.first["models"], {name: state["models"][name] for name in self.first["models"]}),
            "objects of the pack": (self.first["objects"], state["objects"]),
            "runs that go on": ({}, state["current"]),
        }
        for what, (before, now) in found.items():
            changed = {name: now.get(name) for name in {**before, **now} if before.get(name) != now.get(name)}
            if changed:
                self._fail(run, f"{what} changed: {changed}")

    def _count(self, run: Run, outcome: Outcome) -> None:
        self.report.counts[outcome.kind] += 1
        self.report.mistakes.update(name for name in run.mistakes if "." not in name)
        if outcome.kind == HOST:
            self.report.of_the_host.update([outcome.said.splitlines()[0]])
        if outcome.kind == BUG:
            self._fail(run, outcome.said)

    def _fail(self, run: Run, said: str) -> None:
        command = f"python -m devtools.fuzz --seed {self.seed} --first {run.number} --runs 1"
        notes = f"mistakes: {run.mistakes}, trouble: {run.trouble or 'none'}"
        text = f"run {run.number} ({notes}): {said}\nagain: {command}\ngraph: {json.dumps(run.prompt)}"
        self.report.failures.append(text)
        print(f"FAILED {text}\n", flush=True)
        if self.failures is not None:
            self.failures.mkdir(parents=True, exist_ok=True)
            path = self.failures / f"seed-{self.seed}-run-{run.number}.json"
            path.write_text(json.dumps(run.prompt, indent=2), encoding="utf-8")


def replay(server: Server, prompt: Prompt) -> str:
    """Run one graph as it is; what came of it."""
    campaign = Campaign(server, seed=0)
    [result_node] = [node_id for node_id, node in prompt.items() if node["class_type"] == f"{TEST}Result"]
    run = Run(0, prompt, "", {"result": result_node}, mistakes=["perhaps"], trouble="perhaps")
    try:
        return json.dumps(outcomes.told(campaign.submit(prompt), result_node))
    except (PromptRejected, ServerError) as error:
        return str(error)
    except PromptFailed as failure:
        return f"{outcomes.of_failure(run, failure).kind}: {failure}\n{failure.traceback}"
