"""What the pack adds to ComfyUI's start: the time it takes to load, and the modules it brings along.

    COMFYUI_PATH=path/to/ComfyUI python -m devtools.measuring.import_time

Runs in the host's Python. The host's own nodes are loaded first, so that what they import is not put down to the pack;
then the pack is, by the host's own loader: import, registration and the schema of every node. A pack without nodes
shows what of that is the loader's.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from devtools import ROOT
from devtools.comfyui.inprocess import start_host

WITHOUT_NODES = """\
from comfy_api.latest import ComfyExtension

class Empty(ComfyExtension):
    async def get_node_list(self):
        return []

async def comfy_entrypoint():
    return Empty()
"""


def host_with_its_nodes(base: Path) -> Any:
    """The module `nodes` of the ComfyUI at COMFYUI_PATH, with all of its own nodes loaded; it works in `base`."""
    start_host("--cpu", "--base-directory", str(base))
    nodes = importlib.import_module("nodes")
    asyncio.run(nodes.init_builtin_extra_nodes())
    return nodes


async def load(nodes: Any, pack: Path) -> None:
    """What the host does with a folder of custom_nodes."""
    if not await nodes.load_custom_node(str(pack)):
        raise ImportError(f"the host did not load {pack}; its log says why")


def modules_of(pack: Path) -> list[str]:
    """The names of a loaded pack's modules: the host gives them the path, with dots replaced."""
    prefix = str(pack).replace(".", "_x_")
    return [name for name in sys.modules if name == prefix or name.startswith(f"{prefix}.")]


def seconds(nodes: Any, pack: Path) -> float:
    """Processor time: on a busy machine the clock would count others' work too."""
    for name in modules_of(pack):
        del sys.modules[name]
    started = time.process_time()
    asyncio.run(load(nodes, pack))
    return time.process_time() - started


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m devtools.measuring.import_time", description=__doc__)
    parser.add_argument("--pack", metavar="DIR", type=Path, default=ROOT, help="default: this checkout")
    parser.add_argument("--rounds", type=int, default=15, help="default: %(default)s")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        nodes = host_with_its_nodes(Path(folder))
        # Caches of its own: the first load has none, as after an installation, and the others have them.
        sys.pycache_prefix, sys.dont_write_bytecode = f"{folder}/caches", False
        empty = Path(folder) / "empty"
        empty.mkdir()
        (empty / "__init__.py").write_text(WITHOUT_NODES, encoding="utf-8")
        times = {}
        for name, pack in {"a pack without nodes": empty, "this pack": chosen.pack.resolve()}.items():
            before = set(sys.modules)
            first, *later = (seconds(nodes, pack) for _ in range(1 + chosen.rounds))
            times[name] = (first, median(later), min(later))
            brought = sorted(set(sys.modules) - before - set(modules_of(pack)))
    print("| load, ms of processor time | first, compiling it | again, median | best |\n|---|---|---|---|")
    for name, values in times.items():
        print(f"| {name} | {' | '.join(f'{1000 * value:.1f}' for value in values)} |")
    print(
        f"\n{len(modules_of(chosen.pack.resolve()))} modules of its own; others that the host did not have: {brought}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
