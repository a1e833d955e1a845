"""Which process of `-n` runs which tests: servers are started for two of the processes, whatever their number."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from xdist.scheduler import LoadFileScheduling

ROOT = Path(__file__).parent.parent

# A Prefect server and a cluster of Dask workers cost as much as a hundred tests, and each process has its own ones.
NEEDS_SERVERS = re.compile(r"\b(prefect_server|dask_workers)\b")
PROCESSES_WITH_SERVERS = 2


@cache
def files_with_servers() -> tuple[str, ...]:
    """Return the test files that name one of the fixtures."""
    return tuple(
        str(file.relative_to(ROOT))
        for file in sorted(ROOT.glob("tests/**/test_*.py"))
        if NEEDS_SERVERS.search(file.read_text(encoding="utf-8"))
    )


class FewServers(LoadFileScheduling):
    """Gives a process all tests of a file, and the files that need servers to two processes."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        files = files_with_servers()
        return f"servers {files.index(file) % PROCESSES_WITH_SERVERS}" if file in files else file
