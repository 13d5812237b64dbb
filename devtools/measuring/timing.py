"""Timing variants of one computation in turn, beside the first of them and beside the floor: their FLOPs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch.utils.flop_counter import FlopCounterMode

from devtools.measuring.peak_memory import PeakMemory


@dataclass
class Measured:
    """One variant: the floating-point operations, seconds of each round, and the peak of memory above the weights."""

    name: str
    run: Callable[[], object]
    flops: int = 0
    seconds: list[float] = field(default_factory=list)
    peak: int | None = None


def measure(variants: list[Measured], rounds: int, device: torch.device) -> list[Measured]:
    """Time the variants in turn, after a round that is not measured; memory in the first round that is."""
    for variant in variants:
        variant.run()
        print(f"  warm: {variant.name}", file=sys.stderr, flush=True)
    for number in range(rounds):
        for variant in variants:
            with PeakMemory(device) as memory:
                variant.seconds.append(seconds(variant.run, device))
            variant.peak = memory.peak if number == 0 else variant.peak
        print(f"  round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return variants


def seconds(run: Callable[[], object], device: torch.device) -> float:
    started = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def flops(run: Callable[[], object]) -> int:
    """The operations of a computation on the meta device, which has shapes alone."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def report(title: str, variants: list[Measured]) -> None:
    """A Markdown table: best time against plain's best, the floor, and how far above the floor that is."""
    plain = variants[0]
    print(f"{title}: plain takes {min(plain.seconds):.3g} s, {plain.flops / 1e12:.3g} TFLOP\n")
    print("| variant | time / plain | floor (FLOPs / plain) | time / floor | rounds, s | peak MB |")
    print("|---|---|---|---|---|---|")
    for variant in variants:
        ratio, floor = min(variant.seconds) / min(plain.seconds), variant.flops / plain.flops
        rounds = " ".join(f"{value:.3g}" for value in variant.seconds)
        peak = "-" if variant.peak is None else f"{variant.peak / 1e6:.0f}"
        print(f"| {variant.name} | {ratio:.3f} | {floor:.3f} | {ratio / floor:.3f} | {rounds} | {peak} |")
    print(flush=True)
