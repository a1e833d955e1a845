"""The way of this process's figures to Prometheus, for whoever asks for it: served, or pushed to a gateway.

Guarantees: nothing listens and nothing is sent unless `PREFECT_OLLAMA_METRICS` says where; a port that is taken or a
gateway that does not answer fails no run, and is told of once in its log.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from prometheus_client import REGISTRY, push_to_gateway, start_http_server

from prefect_ollama.blocks.printable import printable
from prefect_ollama.tasks.log import run_logger

if TYPE_CHECKING:
    from prefect_ollama.tasks.log import RunLogger

VARIABLE: Final = "PREFECT_OLLAMA_METRICS"
"""`9464` or `0.0.0.0:9464` serves on that port, by itself on loopback; `http://host:9091` pushes to a Pushgateway."""

JOB: Final = "prefect-ollama"

PUSH_EVERY: Final = 15.0
"""Seconds between two pushes."""

ANSWER_WITHIN: Final = 5.0
"""Seconds that a gateway may take for an answer."""

_LOOPBACK: Final = "127.0.0.1"

_served: set[tuple[str, int]] = set()
_lock = threading.Lock()


@contextlib.contextmanager
def exposed(source: str) -> Iterator[None]:
    """Expose the figures of this process while the context lasts, and at its end once more.

    What is served stays so until the process ends: its port is open for the next run in it.

    Args:
        source: Name of the run's source, which keeps what runs over several sources push apart.
    """
    where, logger = os.environ.get(VARIABLE, "").strip(), run_logger()
    if "://" in where:
        with _pushed(where, source, logger):
            yield
        return
    if where:
        try:
            _serve(where)
        except (OSError, ValueError, OverflowError) as error:
            logger.warning("No metrics are served, %s=%r cannot be used: %s", VARIABLE, where, error)
    yield


def _serve(where: str) -> None:
    host, _, port = where.rpartition(":")
    address = (host.strip("[]") or _LOOPBACK, int(port))
    with _lock:
        if address not in _served:
            start_http_server(address[1], addr=address[0])
            _served.add(address)


@contextlib.contextmanager
def _pushed(gateway: str, source: str, logger: RunLogger) -> Iterator[None]:
    ended = threading.Event()
    key = {"instance": os.uname().nodename, "source": printable(source)}

    def push() -> str:
        try:
            push_to_gateway(gateway, JOB, REGISTRY, key, timeout=ANSWER_WITHIN)
        except Exception as error:  # whatever the way to it makes of it, the run goes on
            return str(error)
        return ""

    def run() -> None:
        told = False
        while not ended.wait(PUSH_EVERY):
            if (error := push()) and not told:
                told = True
                logger.warning("Metrics do not reach %s: %s. The run goes on.", gateway, error)

    thread = threading.Thread(target=run, name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(2 * ANSWER_WITHIN)
        if error := push():
            logger.warning("The last metrics did not reach %s: %s", gateway, error)
