"""The evaluation of the small transformer, on few sets: it runs, and sharing still brings styles closer.

As for the UNet, thresholds leave room for chance on this many sets, not for sharing to stop working.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


EVERY_DAY = {"plain": ["--sets", "8", "--variants", "defaults", "--samples", "0"]}
THOROUGH = {
    "hard": ["--hard", "--sets", "2", "--variants", "copying"],
    "inside": ["--inside", "--sets", "2", "--variants", "same", "flux-single.5"],
}
ALL_RUNS = """
import json, sys
from devtools.evaluate import main
for options in json.loads(sys.argv[1]):
    main([*options, "--model", "flux", "--timed", "0", "--workers", "1", "--out", sys.argv[2]])
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    return what_is_written(EVERY_DAY, tmp_path_factory.mktemp("evaluation"))


@pytest.fixture(scope="module")
def measured_in_detail(tmp_path_factory):
    return what_is_written(THOROUGH, tmp_path_factory.mktemp("evaluation"))


def what_is_written(runs: dict[str, list[str]], out: Path) -> dict[str, dict]:
    """What the program writes of each run, as JSON; all in one process, which loads the model once."""
    command = [sys.executable, "-c", ALL_RUNS, json.dumps(list(runs.values())), str(out)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    names = {"plain": "evaluation-flux", "hard": "evaluation-flux-hard", "inside": "evaluation-flux-inside"}
    return {run: json.loads((out / f"{names[run]}.json").read_text()) for run in runs}


def test_sharing_brings_colours_and_features_closer(measured):
    found = measured["plain"]["variants"]
    assert found["defaults"]["goals"]["colour"] < 0.75
    assert found["defaults"]["similarity"]["mean"] > found["plain"]["similarity"]["mean"] + 0.2


def test_most_plain_pictures_show_their_shape(measured):
    """96 in a hundred (docs/evaluation-transformer.md), give or take a tenth on so few sets."""
    assert measured["plain"]["variants"]["plain"]["content"]["mean"] > 0.85


@pytest.mark.thorough
def test_hard_sets_are_compared_with_their_own_baseline(measured_in_detail):
    found = measured_in_detail["hard"]["variants"]
    assert list(found) == ["picture-plain", "copying"]
    assert set(found["copying"]["beyond"]) == {"leakage", "copying", "overlap", "seconds", "duplicates"}
    assert all(each["mean"] == 0 for each in found["picture-plain"]["beyond"].values())


@pytest.mark.thorough
def test_inside_it_says_how_much_attention_the_reference_gets(measured_in_detail):
    """About half where it has half of the tokens; of all blocks as of the last one."""
    found = measured_in_detail["inside"]
    assert set(found["variants"]) == {"plain", "same", "flux-single.5"}
    assert set(found["attention"]) == {"same", "flux-single.5"}
    assert all(0.3 < share < 0.7 for share in found["attention"].values())
