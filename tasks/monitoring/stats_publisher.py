"""Publish the statistics of a process's dispatcher while it has work.

Guarantees: publishing never makes a task wait, and its errors never reach a task. The last message is sent before the
last task ends, so the flow has the final statistics when all tasks have ended. No thread is left.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from prefect_ollama.blocks.periodic import PeriodicThread
from prefect_ollama.tasks.dispatch import NodeStats

# Seconds between two messages.
PUBLISH_INTERVAL_S = 0.5

# A message, in plain values: `process` (host and id), `at` (a clock of that process), `nodes`.
Message = dict[str, Any]


@contextmanager
def publishing(
    key: object, stats: Callable[[], Sequence[NodeStats]], send: Callable[[Message], None]
) -> Iterator[None]:
    """Publish statistics as long as any thread of this process is in such a context with the same key.

    Args:
        key: Identifies the statistics. `stats` and `send` of the first context are used.
        stats: Returns the statistics.
        send: Sends a message; it must not block.
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
    def __init__(self, stats: Callable[[], Sequence[NodeStats]], send: Callable[[Message], None]) -> None:
        self.users = 0
        self._figures, self._send = stats, send
        self._thread = PeriodicThread(self._post, PUBLISH_INTERVAL_S, name="stats").start()

    def end(self) -> None:
        """Send the last message."""
        # After the thread has ended, so that no older message follows this one.
        self._thread.end()
        self._post()

    def _post(self) -> None:
        try:
            nodes = [asdict(node) for node in self._figures()]
            self._send({"process": process_name(), "at": time.monotonic(), "nodes": nodes})
        except Exception as error:  # monitoring must not stop work
            logging.getLogger(__name__).debug("Statistics could not be sent: %r", error)


def process_name() -> str:
    """Return host and process, the origin of statistics and results."""
    return f"{os.uname().nodename}:{os.getpid()}"


_publishers: dict[object, _Publisher] = {}
_lock = threading.Lock()
