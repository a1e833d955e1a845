"""Which process of `-n` runs which tests: servers are started for two of the processes, whatever their number."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from xdist.scheduler import LoadFileScheduling

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController

ROOT = Path(__file__).parent.parent

# A Prefect server and a cluster of Dask workers cost as much as a hundred tests, and each process has its own ones.
NEEDS_SERVERS = re.compile(r"\b(prefect_server|dask_workers)\b")
PROCESSES_WITH_SERVERS = 2


@cache
def files_with_servers() -> tuple[str, ...]:
    """Return the test files that name one of the fixtures, those with the most tests on workers of Dask first.

    Such a test takes seconds. If it came last, one process would run it while the others have ended.
    """
    uses = {
        str(file.relative_to(ROOT)): NEEDS_SERVERS.findall(file.read_text(encoding="utf-8"))
        for file in sorted(ROOT.glob("tests/**/test_*.py"))
    }
    return tuple(sorted(filter(uses.get, uses), key=lambda file: -uses[file].count("dask_workers")))


class FewServers(LoadFileScheduling):
    """Gives a process all tests of a file, and the files that need servers to two processes."""

    def _next_file(self, node: WorkerController) -> str | None:
        """Return the file that a process runs next; None if it has no servers and all files that are left need them."""
        with_servers = [file for file in files_with_servers() if file in self.workqueue]
        others = (file for file in self.workqueue if file not in with_servers)
        if node in self.nodes[:PROCESSES_WITH_SERVERS]:
            return next(iter(with_servers), None) or next(others, None)
        return next(others, None)

    def _assign_work_unit(self, node: WorkerController) -> None:
        file = self._next_file(node)
        if file:
            self.workqueue.move_to_end(file, last=False)
            super()._assign_work_unit(node)
        else:
            node.shutdown()
