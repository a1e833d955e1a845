"""Limits that the child process sets on itself for each file, so that it ends even if its parent is gone."""

import contextlib
import math
import os
import signal
import time

try:
    import resource
except ImportError:  # Windows has none; there the parent's clock is the only limit
    resource = None  # type: ignore[assignment]

_MB = 2**20

# Enough for pipes, the file, fonts and language data, and too few for a hostile file to exhaust the system's.
_DESCRIPTORS = 128


def _statm() -> int | None:
    try:
        return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


_STATM = _statm()


def held_mb() -> float:
    """Return the address space of this process in MiB; 0 if the system does not report it."""
    if _STATM is None:
        return 0.0
    # Opened when this module is imported, because a confined process may not open files in /proc.
    pages = int(os.pread(_STATM, 256, 0).split()[0])
    return pages * os.sysconf("SC_PAGE_SIZE") / _MB


class Limits:
    """Sets and lifts the limits of this process. Memory counts from its size when this object is made.

    Args:
        memory_mb: Hard limit of memory beyond that at rest, in MiB. The process cannot raise it again.
        cpu_seconds: Hard limit of the CPU time of all files together.
    """

    def __init__(self, *, memory_mb: int | None = None, cpu_seconds: float | None = None) -> None:
        self._at_rest_mb = held_mb()
        if resource is None:
            return
        _set(resource.RLIMIT_CORE, 0, hard=True)  # a core dump would hold the document, and take gigabytes
        _set(resource.RLIMIT_FSIZE, _MB, hard=True)  # the parser writes no files
        _set(resource.RLIMIT_NOFILE, _DESCRIPTORS, hard=True)
        if memory_mb is not None and self._at_rest_mb:
            _set(resource.RLIMIT_AS, int(self._at_rest_mb + memory_mb) * _MB, hard=True)
        if cpu_seconds is not None:
            _set(resource.RLIMIT_CPU, math.ceil(time.process_time() + cpu_seconds), hard=True)

    @property
    def grown_mb(self) -> float:
        """Memory that the process holds beyond what it held at rest, in MiB."""
        return max(0.0, held_mb() - self._at_rest_mb)

    def apply(self, *, cpu: float, wall: float, memory_mb: int) -> None:
        """Limit CPU and wall time from now on, in seconds, and memory beyond that at rest."""
        if resource is None:
            return
        self.time(cpu=cpu, wall=wall)
        if self._at_rest_mb:
            _set(resource.RLIMIT_AS, int(self._at_rest_mb + memory_mb) * _MB)

    def time(self, *, cpu: float, wall: float) -> None:
        """Limit CPU and wall time from now on, in seconds."""
        if resource is None:
            return
        _set(resource.RLIMIT_CPU, math.ceil(time.process_time() + cpu))
        # Ten seconds later than the parent's clock, so it only ends a child whose parent was killed.
        signal.setitimer(signal.ITIMER_REAL, wall + 10)

    def lift(self) -> None:
        """Lift the limits of one file. The hard limits stay."""
        if resource is None:
            return
        signal.setitimer(signal.ITIMER_REAL, 0)
        for which in (resource.RLIMIT_CPU, resource.RLIMIT_AS):
            _set(which, resource.getrlimit(which)[1])


def _set(which: int, value: int, *, hard: bool = False) -> None:
    most = resource.getrlimit(which)[1]
    if resource.RLIM_INFINITY not in (most, value):
        value = min(value, most)
    # macOS refuses a limit of the address space; there only the CPU limit and the parent's clock hold.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(which, (value, value if hard else most))
