"""The end of the stream where the nodes are: a process posts what its dispatcher knows while it has work.

Guarantees: it never makes a task wait, and nothing that goes wrong with it reaches a task; the last post comes
before the last task ends, so that whoever has seen all tasks end has the last figures; no thread stays behind.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from prefect_ollama.blocks.periodic import PeriodicThread
from prefect_ollama.tasks.dispatch import DispatchStats

# Seconds from post to post.
EVERY = 0.5

# What is posted, in plain values: `process` (host and id), `at` (a clock of that process), `nodes`.
Message = dict[str, Any]


@contextmanager
def publishing(
    key: object, stats: Callable[[], DispatchStats], send: Callable[[Message], None]
) -> Iterator[None]:
    """Post figures for as long as any thread of this process is in such a context with the same key.

    Args:
        key: What the figures are of; the first to come brings `stats` and `send`.
        stats: Gives them.
        send: Posts them; it must not wait.
    """
    with _lock:
        poster = _publishers.get(key)
        if poster is None:
            poster = _publishers[key] = _Publisher(stats, send)
        poster.users += 1
    try:
        yield
    finally:
        with _lock:
            poster.users -= 1
            if last := poster.users == 0:
                del _publishers[key]
        if last:
            poster.end()


class _Publisher:
    def __init__(self, stats: Callable[[], DispatchStats], send: Callable[[Message], None]) -> None:
        self.users = 0
        self._figures, self._send = stats, send
        self._thread = PeriodicThread(self._post, EVERY, name="stats").start()

    def end(self) -> None:
        """Post for the last time."""
        self._thread.end()
        self._post()

    def _post(self) -> None:
        try:
            nodes = [asdict(node) for node in self._figures().nodes]
            self._send({"process": process_name(), "at": time.monotonic(), "nodes": nodes})
        except Exception as error:  # what is only to be looked at stops no work
            logging.getLogger(__name__).debug("Figures could not be posted: %r", error)


def process_name() -> str:
    """Host and process, as figures and results name where they come from."""
    return f"{os.uname().nodename}:{os.getpid()}"


_publishers: dict[object, _Publisher] = {}
_lock = threading.Lock()
