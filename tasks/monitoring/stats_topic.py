"""The topic on which Dask workers send statistics of the nodes to the flow, over Dask's own connections.

So it works wherever the workers are. The topic has the name of the flow's Dask client, because the scheduler deletes
the messages for a client some time after the client has left. So a scheduler that runs for years keeps nothing of a
run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import distributed

from prefect_ollama.tasks.dispatch import Dispatcher
from prefect_ollama.tasks.monitoring.stats_publisher import publishing


@contextlib.contextmanager
def subscribed(client: distributed.Client, take: Callable[[Any], None]) -> Iterator[str]:
    """Receive the messages of workers until the end of the context.

    Args:
        client: The flow's Dask client.
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
    except ValueError:  # this process is no Dask worker
        topic = None
    if topic is None:
        yield
        return
    with publishing(topic, dispatcher.stats, lambda message: worker.log_event(topic, message)):
        yield
