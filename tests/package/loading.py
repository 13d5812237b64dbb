"""What happens while the host loads a pack: a program, run by test_loading.py.

    python loading.py FOLDER PACK...

loads the host with its own nodes, working in FOLDER, then one pack after the other, and prints what each of them did as
JSON: files written, connections and processes made, threads started, modules imported from outside its own folder.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from devtools.measuring.import_time import host_with_its_nodes, load, modules_of

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES_TO_FILES = (
    "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.utime", "os.chmod",
    "os.chown", "shutil.", "tempfile.",
)  # fmt: skip
NETWORK = ("socket.", "urllib.", "http.", "ssl.")
PROCESSES = ("subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.startfile", "pty.")


class Witness:
    """Hears of all that Python does, as long as it is listening: audit hooks cannot be removed."""

    def __init__(self) -> None:
        self.listening = False
        self.heard: dict[str, list[str]] = {}
        sys.addaudithook(self._hear)

    def start(self) -> None:
        self.heard = {"writes": [], "network": [], "processes": []}
        self.listening = True

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.listening:
            return
        if (event == "open" and _is_writing(*arguments[1:3])) or event.startswith(CHANGES_TO_FILES):
            self.heard["writes"].append(f"{event} {arguments[0]}")
        elif event.startswith(NETWORK):
            self.heard["network"].append(event)
        elif event.startswith(PROCESSES):
            self.heard["processes"].append(f"{event} {arguments}")


def _is_writing(mode: str | None, flags: int) -> bool:
    return bool(set(mode or "") & set("wax+")) or bool(flags & WRITING)


async def observed(nodes: Any, pack: Path, witness: Witness) -> dict[str, list[str]]:
    modules, threads = set(sys.modules), set(threading.enumerate())
    witness.start()
    try:
        await load(nodes, pack)
    finally:
        witness.listening = False
    return {
        **witness.heard,
        "threads": [thread.name for thread in set(threading.enumerate()) - threads],
        "modules": sorted(set(sys.modules) - modules - set(modules_of(pack))),
    }


def main(base: str, *packs: str) -> None:
    sys.dont_write_bytecode = True  # Python's caches are no work of the pack
    nodes = host_with_its_nodes(Path(base))
    witness = Witness()
    # The loop itself opens sockets: it is there before the witness listens.
    print(json.dumps({pack: asyncio.run(observed(nodes, Path(pack), witness)) for pack in packs}))


if __name__ == "__main__":
    main(*sys.argv[1:])
