"""The bench's SDXL at 1024 x 1024: model calls with guidance, in each precision, batch and attention backend of a GPU.

What sharing must spend stands beside what it spends:

    FLOPs    counted on shapes alone, as a multiple of the plain model's
    bytes    held beyond the plain model's: none in a batch, where the reference's keys and values are there anyway and
             a fused kernel needs no copy of them; for a reference apart what its bank keeps from one call to the next
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from devtools.measuring.bench_apart import SDXL, Apart, Model, randomise, with_sharing
from devtools.measuring.timing import Measured, flops, measure

MODEL = Model("SDXL", SDXL, (4, 128, 128), {"c_crossattn": (77, 2048), "y": (2816,)})
DTYPES = (torch.float16, torch.bfloat16)
BATCHES = (2, 4, 8)
CHUNKS = 2  # with and without the prompt
IN_A_BATCH: Mapping[str, Mapping[str, Any] | None] = {
    "plain": None,
    "shared": {},
    "shared, shift ln 2": {"shift": 0.6931},
    "shared, group norm": {"share_group_norm": True},
}
APART = "reference apart"
META = torch.device("meta")

Backend = Callable[..., Tensor]


class Floor(NamedTuple):
    """What a variant must spend: operations, and bytes held beyond the plain model's."""

    flops: int
    held: int


class Row(NamedTuple):
    """A line of a table: the calls measured, None where they don't fit, and the bytes that they have to hold."""

    name: str
    measured: Measured | None
    held: int


def report_sdxl(batches: Sequence[int], rounds: int) -> None:
    """Every table, on the GPU that there is."""
    device = torch.device("cuda")
    print(f"SDXL, 1024 x 1024, CFG, {torch.cuda.get_device_name()}, torch {torch.__version__}\n", flush=True)
    for dtype in DTYPES:
        patcher = randomise(MODEL.on(device, dtype), device)
        for images in batches:
            floors = floors_of(MODEL, images, dtype)
            for name, backend in backends().items():
                print(f"{dtype}, {images} images, {name} attention\n")
                print(table(rows(MODEL, patcher, images, backend, rounds, floors)), flush=True)
        del patcher
        torch.cuda.empty_cache()


def backends() -> dict[str, Backend]:
    """The host's attention functions that there are here, by its names."""
    from comfy.ldm.modules.attention import REGISTERED_ATTENTION_FUNCTIONS

    return dict(REGISTERED_ATTENTION_FUNCTIONS)


@contextmanager
def using(backend: Backend) -> Iterator[None]:
    """Within the context it is what the host's UNet attends with, and what the pack asks which one it is."""
    from comfy.ldm.modules import attention

    before = attention.optimized_attention
    attention.optimized_attention = backend
    try:
        yield
    finally:
        attention.optimized_attention = before


def rows(
    model: Model, patcher: Any, images: int, backend: Backend, rounds: int, floors: Mapping[str, Floor]
) -> list[Row]:
    """patcher: of `model`, with weights. One image is the reference."""
    device, dtype = patcher.load_device, patcher.model.get_dtype()
    calls = calls_by_name(patcher, model.inputs(CHUNKS * images, device, dtype), images)
    with using(backend):
        fitting = [Measured(name, call, floors[name].flops) for name, call in calls.items() if fits(call)]
        measured = {each.name: each for each in measure(fitting, rounds, device)} if fitting else {}
    return [Row(name, measured.get(name), floors[name].held) for name in calls]


def calls_by_name(patcher: Any, inputs: Mapping[str, Tensor], images: int) -> dict[str, Callable[[], object]]:
    """By what they are called in the table. inputs: with as many rows as the largest call."""

    def first(rows: int) -> dict[str, Tensor]:
        return {name: part[:rows] for name, part in inputs.items()}

    def calls_of(options: Mapping[str, Any] | None) -> Apart:
        return Apart(with_sharing(patcher, options), first, CHUNKS)

    apart = calls_of({})
    found = {name: partial(calls_of(options).in_a_batch, images) for name, options in IN_A_BATCH.items()}
    return {**found, APART: lambda: apart.read(apart.record(), images - 1)}


def floors_of(model: Model, images: int, dtype: torch.dtype) -> dict[str, Floor]:
    """By what the calls are called in the table; counted on shapes alone."""
    from comfy.ldm.modules.attention import attention_pytorch

    patcher = model.on(META, dtype)
    inputs = model.inputs(CHUNKS * images, META, dtype)
    with using(attention_pytorch):  # the others ask how much memory the meta device has
        counted = {name: flops(call) for name, call in calls_by_name(patcher, inputs, images).items()}
        with META:
            of_reference = {name: part[:CHUNKS] for name, part in inputs.items()}
            held = Apart(with_sharing(patcher, {}), lambda _: of_reference, CHUNKS).record().nbytes
    return {name: Floor(count, held if name == APART else 0) for name, count in counted.items()}


def fits(call: Callable[[], object]) -> bool:
    try:
        call()
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return False
    return True


def table(found: Sequence[Row]) -> str:
    """Markdown; where not even the plain model fits, that."""
    plain = found[0].measured
    if plain is None:
        return "The plain model does not fit into this GPU's memory.\n"
    lines = [
        "| variant | time, s | / plain | floor (FLOPs / plain) | time / floor | peak MB | above plain | its floor |",
        "|---" * 8 + "|",
        *(_line(each, plain) for each in found),
    ]
    return "\n".join(lines) + "\n"


def _line(row: Row, plain: Measured) -> str:
    if row.measured is None:
        return f"| {row.name} | out of memory |" + " |" * 6
    best, ratio = min(row.measured.seconds), min(row.measured.seconds) / min(plain.seconds)
    floor = row.measured.flops / plain.flops
    peaks = [each.peak for each in (row.measured, plain)]
    peak, above = ("-", "-")
    if peaks[0] is not None and peaks[1] is not None:
        peak, above = f"{peaks[0] / 1e6:.0f}", f"{(peaks[0] - peaks[1]) / 1e6:+.0f}"
    return (
        f"| {row.name} | {best:.3g} | {ratio:.3f} | {floor:.3f} | {ratio / floor:.3f} | {peak} | {above} "
        f"| {row.held / 1e6:.0f} |"
    )
