"""One node inside the dispatcher: its client, rate model and breaker, its requests in flight and its statistics."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass, field
from statistics import median, quantiles

from prefect_ollama.blocks.errors import NodeError, NodeRefused
from prefect_ollama.blocks.nodes import LoopLag
from prefect_ollama.tasks.dispatch._batch_size import MAX_REQUEST_S, NodeLoad
from prefect_ollama.tasks.dispatch._breaker import Breaker
from prefect_ollama.tasks.dispatch._job import Item
from prefect_ollama.tasks.dispatch._rate_model import RateModel, Sent
from prefect_ollama.tasks.dispatch._request_kind import Client, Reply
from prefect_ollama.tasks.dispatch._shared_limits import SharedLimits
from prefect_ollama.tasks.dispatch.stats import NodeStats

# A request that takes this many times as long as expected, and OVERDUE_LEAST on top, is given to others.
OVERDUE = 2.0

OVERDUE_LEAST = 0.5

# A node that gives no answer for this many times as long as expected, and SILENT_LEAST on top, counts as silent.
SILENT = 4.0

SILENT_LEAST = 1.5

# Both come later by this many times the longest pause that the node has made of late.
PAUSES = 2.0

# And by this many times the longest gap in which our own event loop did not run: where other programs have the
# cores, they may have those of a node on this machine too.
LAGS = 4.0

# The first request may take this long before others are asked: its node may have to load the model. Whether the
# node is silent shows only at the end of its load time-out.
LOADING_OVERDUE_S = 15.0

# A request that takes this many times as long as expected, and GIVE_UP_EXTRA_S on top, is given up.
GIVE_UP_FACTOR = 10.0

GIVE_UP_EXTRA_S = 10.0


@dataclass(eq=False, slots=True)
class Request:
    """One request in flight.

    Attributes:
        items: Its texts.
        note: The request in the node's rate model.
        hedge: Whether it does again what another node is doing.
        task: The call.
        number: Its place in the order in which requests were sent.
        foreign: How many items of other nodes' requests it holds beside its own.
        texts: How many texts it holds in all.
        overdue: Whether it has taken so long that others are asked.
        given_up: Whether it was cancelled here.
        answered: When its answer came.
        share: Node seconds and tokens of each of its texts, once it is answered.
    """

    items: list[Item]
    note: Sent
    hedge: bool
    task: asyncio.Task[Reply]
    number: int
    foreign: int = 0
    texts: int = 1
    overdue: bool = False
    given_up: bool = False
    answered: float = math.inf
    share: tuple[float, int] = (0.0, 0)

    def give_up(self) -> None:
        """Cancel it."""
        self.given_up = True
        self.task.cancel()

    @property
    def open_items(self) -> list[Item]:
        """Items that nobody has answered yet."""
        return [item for item in self.items if not item.answered]


@dataclass(eq=False)
class Node:
    """One node and all that the dispatcher knows of it.

    Attributes:
        foreign_in_flight: Requests that others had in flight there, at most, since the oldest of its own was sent.
        refusal: Why it was refused when it was last asked to prove itself; None where it was not.
        refused: Whether there was no slot for another request when one was last asked for.
    """

    client: Client
    rate_model: RateModel
    shared_limits: SharedLimits
    lag: LoopLag
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
    foreign_in_flight: int = 0
    refused: bool = False
    refusal: NodeRefused | None = None

    @property
    def name(self) -> str:
        """The node's name."""
        return self.client.node.name

    @property
    def works(self) -> bool:
        """Whether its breaker is closed."""
        return self.breaker.state == "closed"

    def overdue_at(self, request: Request) -> float:
        """When a request in service is overdue; one that waits at the node for its turn is not."""
        begun = request.note.begun
        if begun is None or request.overdue:
            return math.inf
        limit = self._limit(request, begun, OVERDUE, OVERDUE_LEAST)
        if not self.warm:
            limit = max(limit, LOADING_OVERDUE_S)
        return begun + self.lag.since(begun) + limit

    def silent_at(self, request: Request, now: float) -> float:
        """When a request in service has taken so long that its node counts as silent."""
        begun = request.note.begun
        if begun is None:
            return math.inf
        limit = self._limit(request, now, SILENT, SILENT_LEAST)
        if not self.warm:
            limit = max(limit, self.client.node.load_timeout)
        return begun + self.lag.since(begun) + limit

    def silent_for_long(self, request: Request, now: float, times: float, least: float) -> bool:
        """Whether nothing has come for this many times as long as a request should take, and `least` on top.

        One that waits for a larger one, or for those of others, takes as much longer.
        """
        begun = [each for each in self.requests if each.note.begun is not None]
        longest = max([request, *begun], key=lambda each: each.note.units)
        silence = self.rate_model.silence(now)
        silence -= self.lag.since(now - silence)
        if silence <= self._limit(longest, now, times, least):
            return False
        self.look_around()
        return silence > self._limit(longest, now, times, least)

    def _limit(self, request: Request, now: float, times: float, least: float) -> float:
        pauses = PAUSES * self.rate_model.pause(now) + LAGS * self.lag.longest()
        return times * self._expected(request) + least + pauses

    def patience(self, now: float) -> float:
        """Seconds that a node may take before it answers a probe that waits behind what it has in hand."""
        return sum(self._expected(request) for request in self.requests) + PAUSES * self.rate_model.pause(now)

    def stalled(self) -> bool:
        """Whether something it holds is overdue, so that nothing should be expected of it now."""
        return any(request.overdue for request in self.requests)

    def load(self, now: float) -> NodeLoad:
        """Return the node's load, from which request sizes follow."""
        rate_model = self.rate_model
        return NodeLoad(
            rate_model.free(now), rate_model.overhead, rate_model.unit_seconds(now), rate_model.largest
        )

    def has_room(self) -> bool:
        """Return whether another request may go out, if there is a slot for it."""
        return (
            self.works
            and not self.stalled()
            and not self.refused
            and len(self.requests) < self.rate_model.limit
        )

    def take_slot(self, *, urgent: bool) -> bool:
        """Take a slot for another request, shared with all that use the node; return whether there was one."""
        node = self.client.node
        slot = self.shared_limits.take(node.url, node.max_in_flight, urgent=urgent)
        self.foreign_in_flight = max(slot.others, self.foreign_in_flight if self.requests else 0)
        self.refused = not slot.taken
        if slot.others and slot.slots is not None and self.rate_model.probing_slots:
            self.rate_model.adopt_slots(slot.slots)
        return slot.taken

    def _expected(self, request: Request) -> float:
        """Seconds that a request should take, and those of others that may stand before it."""
        own = self.rate_model.expected(request.note.units)
        return own + self.foreign_in_flight * max(own, MAX_REQUEST_S)

    def release_slot(self, *, found: bool) -> None:
        """Release a slot; `found` when its request was the last that showed how many the node serves at once."""
        self.shared_limits.release(self.client.node.url, self.rate_model.slots if found else None)

    def look_around(self) -> None:
        """See how many requests others have in flight there now."""
        self.foreign_in_flight = max(self.foreign_in_flight, self.shared_limits.others(self.client.node.url))

    def time_limit(self, expected: float) -> float:
        """Seconds after which a request is given up."""
        node = self.client.node
        if not self.warm:
            return node.load_timeout
        return min(node.read_timeout, GIVE_UP_FACTOR * expected + GIVE_UP_EXTRA_S)

    def stats(self) -> NodeStats:
        """Return a snapshot of the statistics."""
        times = list(self.latencies)
        return NodeStats(
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
            kinds=dict(self.breaker.kinds),
            last_error=str(self.breaker.last or ""),
            gone_since=self.breaker.gone_since,
            silent=self.breaker.only_silent,
        )
