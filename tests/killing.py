"""The worker processes of a flow's process, and such that are killed before they are there."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import psutil


def fork_servers(pid: int) -> list[psutil.Process]:
    """The process from which the workers of a flow's process are forked, if there is one."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [each for each in psutil.Process(pid).children() if _says(each, "forkserver")]
    return []


def workers_of(pid: int) -> list[psutil.Process]:
    """Dask workers of a flow's process, also those that have just been forked."""
    found: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        for server in fork_servers(pid):
            found += server.children()
    return found


def _says(process: psutil.Process, word: str) -> bool:
    with contextlib.suppress(psutil.Error):
        return any(word in said for said in process.cmdline())
    return False


@contextlib.contextmanager
def killed_as_they_start(count: int) -> Iterator[list[int]]:
    """Kill the next worker processes that this process starts, before they have connected to their scheduler.

    Args:
        count: How many.

    Yields:
        The ids of those that were killed.
    """
    killed: list[int] = []
    mine = psutil.Process().pid
    known = {process.pid for process in workers_of(mine)}
    over = threading.Event()

    def watch() -> None:
        while len(killed) < count and not over.wait(0.01):
            for process in workers_of(mine):
                with contextlib.suppress(psutil.Error):
                    if process.pid in known:
                        continue
                    known.add(process.pid)
                    process.kill()
                    killed.append(process.pid)
                    if len(killed) == count:
                        return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield killed
    finally:
        over.set()
        watcher.join()
