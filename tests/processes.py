"""Which tests stay in one process, where the suite runs in several."""

from __future__ import annotations

from pathlib import PurePosixPath

from xdist.scheduler import LoadScopeScheduling

TOGETHER = {"browser", "evaluation", "server"}
"""Folders whose tests run on one server, or on what one program has drawn."""


class Together(LoadScopeScheduling):
    """A folder of TOGETHER, or a file, as a whole.

    xdist has marks for this, but it puts them into the tests' ids, which pytest from 9.2 on does not let it change.
    """

    def _split_scope(self, nodeid: str) -> str:
        path = PurePosixPath(nodeid.split("::")[0]).relative_to("tests")
        return path.parts[0] if path.parts[0] in TOGETHER else str(path)
