"""The stream of the nodes' figures, from the Dask workers that embed to the flow, over Dask's own connections.

So it works wherever the workers are. A topic bears the name of the flow's Dask client, because the scheduler
forgets what was said to a client some time after it has left: one that lives for years keeps nothing of a run.
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
    """Hear what workers say while the context lasts.

    Args:
        client: The flow's Dask client.
        take: Takes each message, and others that are not of ours, in the client's own thread: it must be quick.

    Yields:
        The topic to say it to.
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
    """Say what a dispatcher's nodes do while the context lasts, which is in a task on a Dask worker.

    Args:
        topic: Where to; None says nothing.
        dispatcher: The dispatcher.
    """
    worker = _worker()
    if topic is None or worker is None:
        yield
        return
    with publishing(topic, dispatcher.stats, lambda message: worker.log_event(topic, message)):
        yield


def _worker() -> distributed.Worker | None:
    try:
        return distributed.get_worker()
    except ValueError:
        return None
