"""The event feed of a Prefect server, as automations see it."""

from __future__ import annotations

import time
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.events import EventPage
from prefect.events import Event
from prefect.events.filters import EventFilter, EventNameFilter, EventOrder, EventRelatedFilter
from prefect.events.worker import EventsWorker

from prefect_ollama.tasks.monitoring.events import PAGE, PREFIX


def of_run(
    flow_run_id: str | UUID, count: int, *, prefix: str = f"{PREFIX}.", seconds: float = 20
) -> list[Event]:
    """The project's events of a flow run, the oldest first, once there are `count` of them; or others' by prefix.

    A server writes events down a moment after it gets them.
    """
    EventsWorker.drain_all(timeout=seconds)  # one of them may have a server that is gone
    deadline = time.monotonic() + seconds
    with get_client(sync_client=True) as client:
        while True:
            wanted = EventFilter(
                event=EventNameFilter(prefix=[prefix]),
                related=EventRelatedFilter(id=[f"prefect.flow-run.{flow_run_id}"]),
                order=EventOrder.ASC,
            )
            page: EventPage | None = client.read_events(wanted, limit=PAGE)
            found: list[Event] = []
            while page is not None:
                found += page.events
                page = page.get_next_page_sync(client)
            if len(found) >= count or time.monotonic() > deadline:
                return found
            time.sleep(0.1)
