"""Events on Prefect's event feed, for automations.

Guarantees: an event never fails a run and never waits for the server. Each event names its resource, so an automation
can follow each node and each document. Prefect adds the flow run and its deployment. A node that stays down has one
event, and one when it is back, in however many runs. Names and texts from outside are printable.
"""

import logging
from collections.abc import Collection, Iterable, Mapping
from contextlib import nullcontext
from typing import Any, Final, Literal

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events import Event, emit_event
from prefect.events.filters import EventFilter, EventNameFilter, EventResourceFilter
from prefect.exceptions import EventTooLarge

from prefect_ollama.blocks.documents import Document
from prefect_ollama.blocks.printable import printable
from prefect_ollama.blocks.quantity import quantity

# The resource and what happened to it. On the feed, `prefect-ollama.` is before the name.
EventName = Literal["node.down", "node.back", "document.failed", "run.published"]

# Before the names of all events and resources.
PREFIX = "prefect-ollama"

# Characters of a text in an event; a longer text is cut, because Prefect refuses large events.
MAX_VALUE_CHARACTERS = 2000

# Events in one answer: Prefect's server returns at most 50.
EVENTS_PER_PAGE = 50


def emit(name: EventName, resource: str, *, label: str = "", **payload: Any) -> Event | None:
    """Emit an event.

    Args:
        resource: A permanent name of its resource; the id on the feed is
            `prefect-ollama.<node, document or run>.<resource>`.
        label: The name of the resource for people, if that differs.
        payload: Further values, as plain values for JSON.

    Returns:
        The event, or None if there is no feed.
    """
    shown = printable(label or resource)
    about = {"prefect.resource.id": _resource_id(name, resource), "prefect.resource.name": shown}
    short = {
        key: printable(value, longest=MAX_VALUE_CHARACTERS) if isinstance(value, str) else value
        for key, value in payload.items()
    }
    try:
        return emit_event(f"{PREFIX}.{name}", about, payload=short)
    except EventTooLarge as error:
        _logger.debug("An event was too large for the feed: %s", error)
        return None


def settle_nodes(
    ready: Collection[str], down: Mapping[str, str], *, client: SyncPrefectClient | None = None
) -> None:
    """Emit events for nodes whose state differs from the last event on the feed.

    Args:
        ready: Names of the nodes that work.
        down: Why the other nodes do not work, by name.
        client: Client for the feed; by default a new one.
    """
    before = _down_before([*ready, *down], client)
    for node, reason in down.items():
        if node not in before:
            emit("node.down", node, reason=reason)
    for node in ready:
        if node in before:
            emit("node.back", node)


def _down_before(nodes: Collection[str], client: SyncPrefectClient | None) -> set[str]:
    """Return the nodes that are down according to the feed; an empty set if the server does not answer."""
    ids = {_resource_id("node.down", node): node for node in nodes}
    found: set[str] = set()
    try:
        with get_client(sync_client=True) if client is None else nullcontext(client) as asked:
            for start in range(0, len(ids), EVENTS_PER_PAGE):
                some = list(ids)[start : start + EVENTS_PER_PAGE]
                latest = EventFilter(
                    event=EventNameFilter(name=[f"{PREFIX}.node.down", f"{PREFIX}.node.back"]),
                    resource=EventResourceFilter(id=some, distinct=True),
                )
                events = asked.read_events(latest, limit=EVENTS_PER_PAGE).events
                found |= {ids[each.resource.id] for each in events if each.event == f"{PREFIX}.node.down"}
    except Exception as error:  # monitoring must not fail a run, so every error of the client is caught
        _logger.debug("The event feed could not be asked: %r", error)
        return set()
    return found


def _resource_id(name: EventName, resource: str) -> str:
    return f"{PREFIX}.{name.partition('.')[0]}.{printable(resource)}"


_logger = logging.getLogger(__name__)


# Failed documents of a run with an event of their own; the others are counted in one event.
MAX_DOCUMENT_EVENTS: Final = 200


class FailureEvents:
    """The failed documents of a run."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._emitted = 0
        self._more = 0

    def tell(self, rows: Iterable[Document]) -> None:
        """Emit events for documents that are not stored, or only in part."""
        for row in rows:
            if self._emitted >= MAX_DOCUMENT_EVENTS:
                self._more += 1
                continue
            self._emitted += 1
            emit(
                "document.failed",
                row.doc_id,
                label=row.path,
                run=self._run_id,
                source=row.source,
                path=row.path,
                status=row.status,
                kind=row.kind,
                reason=row.reason,
                remedy=row.remedy,
            )

    def end(self) -> None:
        """Emit an event with the number of further failed documents."""
        if self._more:
            label = quantity(self._more, "more document")
            emit("document.failed", self._run_id, label=label, run=self._run_id, more=self._more)
            self._more = 0
