"""What came of a run, and whether that is as it should be."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from devtools.comfyui.client import PromptFailed, PromptRejected, Result
from devtools.comfyui.server import PACK_NAME
from devtools.fuzz.graphs import MAP, REPORT, SAVE, Run

FINISHED, REFUSED, REJECTED = "finished", "refused by the pack", "rejected by ComfyUI's checks"
TROUBLE, INTERRUPTED, HOST, BUG = "another node's trouble", "interrupted", "fails without the pack too", "BUG"

# What the host says of values before anything runs. Anything else there is an exception in somebody's code.
_CHECKED = {
    "required_input_missing", "bad_linked_input", "return_type_mismatch", "invalid_input_type",
    "value_smaller_than_min", "value_bigger_than_max", "value_not_in_list", "custom_validation_failed",
}  # fmt: skip
_ROUNDING = 1e-5
_LAST_FRAME = re.compile(r'.*File "(?P<file>[^"]+)", line \d+, in \S+\n(?P<line>.*)', re.DOTALL)


@dataclass(frozen=True)
class Outcome:
    """`kind` is one of the words above, `said` what was said or what is wrong."""

    kind: str
    said: str = ""


def told(result: Result, node_id: str) -> dict[str, Any]:
    """What one of the tests' own nodes told as JSON."""
    return dict(json.loads(result.outputs[node_id]["told"][0]))


def of_result(run: Run, result: Result) -> Outcome:
    """The outcome of a run that came to its end."""
    shown = [name for name in ("result", SAVE, MAP, REPORT) if name in run.nodes]
    left_out = [name for name in shown if run.nodes[name] not in result.outputs]
    if left_out:  # the host runs the outputs that pass its checks, without those that do not
        return Outcome(REJECTED if run.mistakes else BUG, f"left out: {', '.join(left_out)}")
    if run.must_refuse:
        return Outcome(BUG, f"let through: {', '.join(run.mistakes)}")
    samples = told(result, run.nodes["result"])
    if not run.mistakes and (samples["from_reference"] or 0.0) > (_ROUNDING if run.is_denoised else 0.0):
        return Outcome(BUG, f"row 0 is not the reference latent: {samples['from_reference']}")
    if not samples["finite"]:
        return Outcome(BUG, "the samples are not finite")
    return Outcome(FINISHED)


def of_rejection(run: Run, rejection: PromptRejected) -> Outcome:
    """The outcome of a run that the host's validation stopped."""
    errors = [error for node in rejection.node_errors.values() for error in node.get("errors", [])]
    unclear = [error for error in errors if error["type"] not in _CHECKED]
    if unclear or not errors:
        return Outcome(BUG, str(rejection))
    if not run.mistakes:
        return Outcome(BUG, f"a good graph was rejected: {rejection}")
    ours = any(error["type"] == "custom_validation_failed" for error in errors)
    return Outcome(REFUSED if ours else REJECTED, str(rejection))


def of_failure(run: Run, failure: PromptFailed) -> Outcome:
    """The outcome of a run in which a node raised."""
    said = words(failure)
    if failure.exception_type == "Interrupted":
        return Outcome(INTERRUPTED if "interrupt" in run.trouble else BUG, said)
    if run.trouble and failure.exception_message.startswith(f"deliberate: {run.trouble}"):
        return Outcome(TROUBLE, said)
    if is_clear(failure):
        return Outcome(REFUSED if run.mistakes or _has_nothing_to_show(failure) else BUG, said)
    return Outcome(BUG, f"{said}\n{failure.traceback}")


def _has_nothing_to_show(failure: PromptFailed) -> bool:
    """Whether a map is of a run in which nothing was shared, as with a range without steps, or in parts of pictures."""
    return failure.node_type == MAP and failure.exception_message.startswith("Nothing has been recorded")


def alike(one: str, other: str) -> bool:
    """Whether two failures differ in their numbers at most: some of the host's nodes remember earlier runs."""
    return re.sub(r"\d+", "0", one) == re.sub(r"\d+", "0", other)


def words(failure: PromptFailed) -> str:
    return f"{failure.exception_type}: {failure.exception_message.splitlines()[0] if failure.exception_message else ''}"


def is_clear(failure: PromptFailed) -> bool:
    """Whether the pack itself raised, and in words: a ValueError that one of its own lines makes."""
    frame = _LAST_FRAME.fullmatch(failure.traceback.rstrip())
    if frame is None or failure.exception_type != "ValueError":
        return False
    return PACK_NAME in PurePath(frame["file"]).parts and frame["line"].lstrip().startswith("raise ")
