"""The topic on which Dask workers send statistics of the nodes to the flow, over Dask's own connections.

So workers may be on any host. The topic has the name of the flow's Dask client, because the scheduler deletes the
messages for a client some time after the client has left. So a scheduler that runs for years keeps no data of ended
runs.

Guarantees: publishing never makes a task wait, and its errors never reach a task. The last message is sent before the
last task ends, so the flow has the final statistics when all tasks have ended. No thread is left.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import distributed

from prefect_ollama.blocks.periodic import PeriodicThread
from prefect_ollama.tasks.dispatch import Dispatcher, NodeStats
from prefect_ollama.tasks.monitoring.node_stats import SEND_INTERVAL_S

# Seconds to wait for the last message, which takes milliseconds.
LAST_MESSAGE_TIMEOUT_S = 5.0


@contextlib.contextmanager
def subscribed(client: distributed.Client, take: Callable[[Any], None]) -> Iterator[str]:
    """Receive the messages of workers until the end of the context.

    Args:
        take: Called with each message, also with messages of others, in the client's own thread, so it must be quick.

    Yields:
        The topic.
    """
    topic = str(client.id)
    client.subscribe_topic(topic, lambda event: take(event[1]))  # type: ignore[no-untyped-call]
    try:
        yield topic
    finally:
        with contextlib.suppress(Exception):  # the scheduler may be gone
            client.unsubscribe_topic(topic)  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def publishing_stats(topic: str | None, dispatcher: Dispatcher) -> Iterator[None]:
    """Publish the statistics of a dispatcher until the end of the context, from a task on a Dask worker.

    Args:
        topic: The topic; None publishes nothing.
    """
    try:
        worker = distributed.get_worker()
    except ValueError:  # this process is not a Dask worker
        topic = None
    if topic is None:
        yield
        return
    with publishing(topic, dispatcher.stats, lambda message: worker.log_event(topic, message)):
        yield


@contextlib.contextmanager
def publishing(
    topic: str, stats: Callable[[], Sequence[NodeStats]], send: Callable[[dict[str, Any]], None]
) -> Iterator[None]:
    """Publish statistics while any thread of this process is in a context of this function with the same topic.

    Args:
        topic: The topic. `stats` and `send` of the first context are used.
        stats: Returns the statistics.
        send: Sends a message in plain values: `process` (host and id), `at` (a clock of that process) and `nodes`. It
            must not block.
    """

    def post() -> None:
        try:
            nodes = [asdict(node) for node in stats()]
            send({"process": process_name(), "at": time.monotonic(), "nodes": nodes})
        except Exception as error:  # monitoring must not stop work
            logging.getLogger(__name__).debug("Statistics could not be sent: %r", error)

    with _lock:
        if topic not in _threads:
            _threads[topic] = PeriodicThread(post, SEND_INTERVAL_S, name="stats", last=True).start(), 0
        thread, users = _threads[topic]
        _threads[topic] = thread, users + 1
    try:
        yield
    finally:
        with _lock:
            thread, users = _threads.pop(topic)
            if users > 1:
                _threads[topic] = thread, users - 1
        if users == 1:
            thread.end(LAST_MESSAGE_TIMEOUT_S)


def process_name() -> str:
    """Return host and process, the origin of statistics and results."""
    return f"{os.uname().nodename}:{os.getpid()}"


# The thread that publishes on a topic, and the number of contexts that need it.
_threads: dict[str, tuple[PeriodicThread, int]] = {}
_lock = threading.Lock()
