"""The stage for benchmarks of whole flows: a Prefect server in a home that goes away, and what processes cost.

CPU seconds are those of a process and of its children that have ended, so nothing that ran is left out. Peaks of
memory are the kernel's own (`VmHWM`), read several times a second so that those of short-lived processes are seen.
Linux only.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import psutil

SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}


@contextmanager
def prefect_server() -> Iterator[int]:
    """A Prefect server, with the settings that it has by default, for this process and those it starts; its pid."""
    with tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True) as home:
        os.environ.update(SETTINGS, PREFECT_HOME=home, PREFECT_PROFILES_PATH=f"{home}/profiles.toml")
        from prefect.context import refresh_global_settings_context
        from prefect.events.worker import EventsWorker
        from prefect.logging.handlers import APILogWorker
        from prefect.server.api.server import SubprocessASGIServer

        refresh_global_settings_context()
        logging.getLogger("distributed").setLevel(logging.ERROR)
        server = SubprocessASGIServer()
        server.start()
        os.environ["PREFECT_API_URL"] = server.api_url
        refresh_global_settings_context()
        assert server.server_process is not None
        try:
            yield server.server_process.pid
        finally:
            APILogWorker.drain_all()
            EventsWorker.drain_all()
            server.stop()


class Meter:
    """What processes cost while this is entered.

    Args:
        groups: Processes by the name of their group, to which all that descend from them belong as well, except
            those named in another.

    Attributes:
        cpu: CPU seconds by group.
        ended: Those among them of children that ended, by group.
        peak: Most bytes that one process of a group had, by group, since it began.
        wall: Seconds.
    """

    def __init__(self, groups: Mapping[str, Sequence[int]], apart: Mapping[str, str] | None = None) -> None:
        self._groups = groups
        self._apart = apart or {}
        self._names: dict[int, str | None] = {}
        self.cpu: dict[str, float] = {}
        self.ended: dict[str, float] = {}
        self.peak: dict[str, int] = defaultdict(int)
        self.wall = 0.0
        self._stop = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._before = self._seconds()
        self._began = time.perf_counter()
        self._watch.start()
        return self

    def __exit__(self, *args: object) -> None:
        self.wall = time.perf_counter() - self._began
        after = self._seconds()
        self.cpu = {name: after[name][0] - before[0] for name, before in self._before.items()}
        self.ended = {name: after[name][1] - before[1] for name, before in self._before.items()}
        self._stop.set()
        self._watch.join()

    def _look(self) -> None:
        while not self._stop.wait(0.5):
            children = _children()
            for name, pids in self._groups.items():
                for pid in self._tree(pids, children):
                    with suppress(OSError, StopIteration):
                        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                        peak = int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
                        which = self._name(pid) or name
                        self.peak[which] = max(self.peak[which], peak)

    def _name(self, pid: int) -> str | None:
        """The name under which a process counts apart from its group."""
        if pid not in self._names:
            words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            self._names[pid] = next((name for name, word in self._apart.items() if word in words), None)
        return self._names[pid]

    def _tree(self, pids: Sequence[int], children: Mapping[int, Sequence[int]]) -> set[int]:
        """The processes and their descendants, except those of another group."""
        named = {pid for group in self._groups.values() for pid in group}
        found: set[int] = set()
        waiting = list(pids)
        while waiting:
            pid = waiting.pop()
            found.add(pid)
            waiting += [child for child in children.get(pid, ()) if child not in named]
        return found

    def _seconds(self) -> dict[str, tuple[float, float]]:
        """CPU seconds by group: all, and those of children that ended."""
        children = _children()
        seconds = {}
        for name, pids in self._groups.items():
            alive = ended = 0.0
            for pid in self._tree(pids, children):
                with suppress(psutil.NoSuchProcess):
                    times = psutil.Process(pid).cpu_times()
                    alive += times.user + times.system
                    ended += times.children_user + times.children_system
            seconds[name] = alive + ended, ended
        return seconds


def _children() -> Mapping[int, Sequence[int]]:
    """All processes there are, by their parent."""
    found: defaultdict[int, list[int]] = defaultdict(list)
    for each in psutil.process_iter(["ppid"]):
        found[each.info["ppid"]].append(each.pid)
    return found
