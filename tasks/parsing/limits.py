"""Limits that the child process sets on itself for every file, so that it ends even if nobody watches it."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
from pathlib import Path

try:
    import resource
except ImportError:  # Windows has none; the parent's clock still holds.
    resource = None  # type: ignore[assignment]

_MB = 2**20


def cpu_seconds() -> float:
    """CPU time of this process so far, in seconds."""
    return time.process_time()


def memory_mb() -> float:
    """Address space of this process, in MiB; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[0])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / _MB


class Limits:
    """Sets and lifts the limits of this process. Memory counts from what it held when this was made."""

    def __init__(self) -> None:
        self._at_rest_mb = memory_mb()

    @property
    def grown_mb(self) -> float:
        """Memory that the process holds beyond what it held at rest, in MiB."""
        return max(0.0, memory_mb() - self._at_rest_mb)

    def apply(self, *, cpu: float, wall: float, memory_mb: int) -> None:
        """Limit CPU and wall time from now on, in seconds, and memory beyond that at rest."""
        if resource is None:
            return
        self.time(cpu=cpu, wall=wall)
        if self._at_rest_mb:
            _soft(resource.RLIMIT_AS, int(self._at_rest_mb + memory_mb) * _MB)
        _soft(resource.RLIMIT_CORE, 0)
        _soft(resource.RLIMIT_FSIZE, _MB)

    def time(self, *, cpu: float, wall: float) -> None:
        """Limit CPU and wall time from now on, in seconds."""
        if resource is None:
            return
        _soft(resource.RLIMIT_CPU, math.ceil(cpu_seconds() + cpu))
        # A last resort for a child whose parent was killed: the parent's own clock runs out before.
        signal.setitimer(signal.ITIMER_REAL, wall + 10)

    def lift(self) -> None:
        """Take the limits away, but for those that nothing honest runs into."""
        if resource is None:
            return
        signal.setitimer(signal.ITIMER_REAL, 0)
        for which in (resource.RLIMIT_CPU, resource.RLIMIT_AS):
            _soft(which, resource.getrlimit(which)[1])


def _soft(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    if hard != resource.RLIM_INFINITY and value != resource.RLIM_INFINITY:
        value = min(value, hard)
    # macOS refuses a limit on the address space; there the CPU limit and the parent's clock remain.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(which, (value, hard))
