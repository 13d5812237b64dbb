"""The program: `python -m devtools.fuzz --runs 2000` with COMFYUI_PATH set; 1 where a run went wrong."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from devtools import ROOT
from devtools.comfyui.server import stop_on_signals
from devtools.fuzz.campaign import Campaign, FuzzedServer, Report, replay

CHUNK = 100
"""Runs between two lines of progress."""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m devtools.fuzz", description=__doc__)
    parser.add_argument("--runs", type=int, default=100, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all runs (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the number of the first run (default: %(default)s)")
    parser.add_argument("--replay", metavar="FILE", type=Path, help="run a failure's graph instead")
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=ROOT / "output" / "fuzz", help="for graphs that fail: output/fuzz"
    )
    chosen = parser.parse_args(arguments)
    stop_on_signals()
    started = time.monotonic()
    with FuzzedServer(Path(os.environ["COMFYUI_PATH"])) as server:
        if chosen.replay:
            print(replay(server, json.loads(chosen.replay.read_text(encoding="utf-8"))))
            return 0
        campaign = Campaign(server, chosen.seed, chosen.out)
        for first in range(chosen.first, chosen.first + chosen.runs, CHUNK):
            campaign.run(first, min(CHUNK, chosen.first + chosen.runs - first))
            print(f"{first}: {dict(campaign.report.counts)} after {time.monotonic() - started:.0f} s", flush=True)
    print("\n".join(summary(campaign.report, time.monotonic() - started)))
    return 1 if campaign.report.failures else 0


def summary(report: Report, seconds: float) -> list[str]:
    """The numbers of a campaign, a line each."""
    runs = sum(report.counts.values())
    lines = [f"{runs} runs in {seconds:.0f} s, the slowest {report.slowest[0]:.1f} s (run {report.slowest[1]})"]
    lines += [f"  {count:5} {kind}" for kind, count in report.counts.most_common()]
    lines.append(f"mistakes: {', '.join(f'{count} {name}' for name, count in sorted(report.mistakes.items()))}")
    lines += [f"compared: {count} x {what}" for what, count in report.compared.items()]
    lines += [f"without the pack too: {count} x {said}" for said, count in report.of_the_host.most_common()]
    if report.resident:
        megabytes = [round(resident / 2**20) for resident in report.resident]
        lines.append(f"memory of the server in MiB, over time: {over_time(megabytes)}")
        lines.append(f"tensors alive, over time: {over_time(report.tensors)}")
    lines.append(f"{len(report.failures)} failures")
    return lines


def over_time(values: list[int]) -> str:
    """About ten of the values, the first and the last among them."""
    step = max(len(values) // 10, 1)
    return " ".join(str(value) for value in [*values[::step], values[-1]])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
