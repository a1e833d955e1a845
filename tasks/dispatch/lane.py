"""A lane is one node inside the dispatcher: its client, pace and breaker, what is in flight, and its tally."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from statistics import median, quantiles

from prefect_ollama.blocks.errors import NodeError
from prefect_ollama.blocks.wire.answer import Answer
from prefect_ollama.blocks.wire.client import NodeClient
from prefect_ollama.tasks.dispatch.breaker import Breaker
from prefect_ollama.tasks.dispatch.figures import NodeFigures
from prefect_ollama.tasks.dispatch.job import Item
from prefect_ollama.tasks.dispatch.pace import Pace, Sent
from prefect_ollama.tasks.dispatch.sizing import Standing

OVERDUE = 3.0
"""A request that takes this many times as long as expected, and OVERDUE_LEAST on top, is given to others."""

OVERDUE_LEAST = 0.5
PATIENCE = 10.0
"""A request that takes this many times as long as expected, and PATIENCE seconds on top, is given up."""


@dataclass(eq=False, slots=True)
class Request:
    """One request in flight.

    Attributes:
        items: Its texts.
        note: It, as the node's pace sees it.
        expected: Seconds that it should take.
        hedge: Whether it does again what another node is doing.
        task: The call.
        overdue: Whether it has taken so long that others are asked.
        given_up: Whether it was cancelled here.
    """

    items: list[Item]
    note: Sent
    expected: float
    hedge: bool
    task: asyncio.Task[Answer]
    overdue: bool = False
    given_up: bool = False

    @property
    def overdue_at(self) -> float:
        """When it is overdue."""
        return self.note.at + OVERDUE * self.expected + OVERDUE_LEAST

    @property
    def open_items(self) -> list[Item]:
        """Items that nobody has finished yet."""
        return [item for item in self.items if not item.done]


@dataclass(eq=False)
class Lane:
    """One node and all that the dispatcher knows of it."""

    client: NodeClient
    pace: Pace
    breaker: Breaker = field(default_factory=Breaker)
    requests: list[Request] = field(default_factory=list)
    suspects: list[tuple[Item, NodeError]] = field(default_factory=list)
    probe: asyncio.Task[None] | None = None
    answered: int = 0
    texts: int = 0
    hedged: int = 0
    wasted: int = 0
    busy: float = 0.0
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=500))
    warm: bool = False

    @property
    def name(self) -> str:
        """The node's name."""
        return self.client.node.name

    @property
    def works(self) -> bool:
        """Whether its breaker is closed."""
        return self.breaker.state == "closed"

    def stalled(self) -> bool:
        """Whether something it holds is overdue, so that nothing should be expected of it now."""
        return any(request.overdue for request in self.requests)

    def standing(self, now: float) -> Standing:
        """The node as the sizing sees it."""
        pace = self.pace
        return Standing(
            pace.rate(now), pace.backlog(now), pace.wait(now), pace.slots, pace.largest, pace.least
        )

    def has_room(self) -> bool:
        """Whether another request may go out."""
        return self.works and not self.stalled() and len(self.requests) < self.pace.limit

    def time_limit(self, expected: float) -> float:
        """Seconds after which a request is given up."""
        node = self.client.node
        if not self.warm:
            return node.load_timeout
        return min(node.read_timeout, PATIENCE * expected + PATIENCE)

    def due(self, request: Request, now: float) -> float:
        """Seconds until a request should be done; grows again when it is late, as long as it has taken."""
        ahead = 0.0
        for other in self.requests:
            ahead += other.note.units
            if other is request:
                break
        took = now - request.note.at
        rate = self.pace.rate(now)
        queue = ahead / rate - self.pace.silence(now)
        alone = request.note.units * self.pace.slots / rate - took
        due = max(queue, alone)
        return due if due > 0 and not request.overdue else max(due, took)

    def figures(self) -> NodeFigures:
        """A snapshot of the tally."""
        times = list(self.latencies)
        return NodeFigures(
            name=self.name,
            state=self.breaker.state,
            texts=self.texts,
            requests=self.answered,
            hedged=self.hedged,
            wasted=self.wasted,
            in_flight=len(self.requests),
            busy_seconds=self.busy,
            texts_per_second=(self.texts + self.wasted) / self.busy if self.busy else 0.0,
            p50=median(times) if times else 0.0,
            p95=quantiles(times, n=20)[-1] if len(times) > 1 else sum(times),
            errors=dict(self.breaker.errors),
            last_error=str(self.breaker.last or ""),
        )
