"""Worker processes that are killed before they are there."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import psutil


@contextlib.contextmanager
def killed_as_they_start(count: int) -> Iterator[list[int]]:
    """Kill the next worker processes that this process starts, while they import what they need.

    Args:
        count: How many.

    Yields:
        The ids of those that were killed.
    """
    killed: list[int] = []
    known = {process.pid for process in psutil.Process().children()}
    over = threading.Event()

    def watch() -> None:
        while len(killed) < count and not over.wait(0.01):
            for process in psutil.Process().children():
                with contextlib.suppress(psutil.Error):
                    if process.pid in known or not any("spawn_main" in word for word in process.cmdline()):
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
