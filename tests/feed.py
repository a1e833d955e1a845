"""The event feed of a Prefect server, as automations see it."""

from __future__ import annotations

from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.events import EventPage
from prefect.events import Event
from prefect.events.filters import EventFilter, EventNameFilter, EventOrder, EventRelatedFilter
from prefect.events.worker import EventsWorker

from prefect_ollama.tasks.monitoring.events import EVENTS_PER_PAGE, PREFIX
from tests.waiting import until


def of_run(flow_run_id: str | UUID, count: int, *, prefix: str = f"{PREFIX}.") -> list[Event]:
    """The project's events of a flow run, the oldest first, once there are `count` of them; or others' by prefix.

    A server writes events down a moment after it gets them.
    """
    EventsWorker.drain_all(timeout=20)  # one of them may have a server that is gone
    wanted = EventFilter(
        event=EventNameFilter(prefix=[prefix]),
        related=EventRelatedFilter(id=[f"prefect.flow-run.{flow_run_id}"]),
        order=EventOrder.ASC,
    )
    found: list[Event] = []
    with get_client(sync_client=True) as client:

        def recorded() -> bool:
            page: EventPage | None = client.read_events(wanted, limit=EVENTS_PER_PAGE)
            found.clear()
            while page is not None:
                found.extend(page.events)
                page = page.get_next_page_sync(client)
            return len(found) >= count

        until(recorded, why=lambda: f"{len(found)} of {count} events: {[event.event for event in found]}")
    return found
