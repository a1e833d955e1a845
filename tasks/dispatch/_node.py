"""One node inside the dispatcher: its client, rate model and breaker, its requests in flight and its statistics."""

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
from prefect_ollama.tasks.dispatch._rate_model import RateModel
from prefect_ollama.tasks.dispatch._request import Request
from prefect_ollama.tasks.dispatch._request_kind import Client
from prefect_ollama.tasks.dispatch._shared_limits import SharedLimits
from prefect_ollama.tasks.dispatch.stats import NodeStats

# A request is late, and its texts go to other nodes, after OVERDUE_FACTOR times the expected time and
# OVERDUE_EXTRA_S. The fixed part covers short requests, whose time is mostly the network's and the operating system's.
OVERDUE_FACTOR = 2.0
OVERDUE_EXTRA_S = 0.5

# A node is silent, and has to pass a probe, if no answer came for SILENT_FACTOR times the expected time and
# SILENT_EXTRA_S. This is longer than for a late request: an open breaker costs the node its unconfirmed work.
SILENT_FACTOR = 4.0
SILENT_EXTRA_S = 1.5

# The limits of late and of silent requests are extended by this many times the longest recent pause of the node
# (`RateModel.pause`).
PAUSE_FACTOR = 2.0

# The same limits are also extended by this many times the longest gap in which our own event loop did not run: programs
# that take our cores may take those of a node on this machine too.
LAG_FACTOR = 4.0

# The first request may take this long before others are asked: its node may have to load the model. Whether the
# node is silent shows only at the end of its load time-out.
LOADING_OVERDUE_S = 15.0

# A request that takes this many times as long as expected, and GIVE_UP_EXTRA_S on top, is given up.
GIVE_UP_FACTOR = 10.0

GIVE_UP_EXTRA_S = 10.0


@dataclass(eq=False)
class Node:
    """One node and everything that the dispatcher knows about it.

    Attributes:
        foreign_in_flight: Highest number of requests that other runs had in flight there since the oldest request of
            this run was sent.
        refusal: Why the node refused its last probe; None if it did not.
        refused: Whether there was no free slot when one was last asked for.
        held_back: Whether bulk work waits here for a question of another process.
        reserved: Whether it gets no other request, because it tries a text again that failed here.
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
    held_back: bool = False
    reserved: bool = False
    refusal: NodeRefused | None = None

    @property
    def name(self) -> str:
        """The node's name."""
        return self.client.node.name

    @property
    def works(self) -> bool:
        """Whether the node's breaker is closed."""
        return self.breaker.state == "closed"

    def overdue_at(self, request: Request) -> float:
        """Return when a request becomes late; a request that waits at the node for its turn never does."""
        begun = request.note.begun
        if begun is None or request.overdue:
            return math.inf
        # From the time when it was begun, because a request that waits at the node is not late.
        limit = self._limit(request, begun, OVERDUE_FACTOR, OVERDUE_EXTRA_S)
        if not self.warm:
            limit = max(limit, LOADING_OVERDUE_S)
        return begun + self.lag.since(begun) + limit

    def silent_at(self, request: Request, now: float) -> float:
        """Return when a request in service has taken so long that its node counts as silent."""
        begun = request.note.begun
        if begun is None:
            return math.inf
        limit = self._limit(request, now, SILENT_FACTOR, SILENT_EXTRA_S)
        if not self.warm:
            limit = max(limit, self.client.node.load_timeout)
        return begun + self.lag.since(begun) + limit

    def silent_for_long(self, request: Request, now: float, times: float, least: float) -> bool:
        """Return whether no answer came for `times` the expected time of a request and `least` seconds more.

        The expected time includes a larger request before it, and requests of other runs.
        """
        begun = [each for each in self.requests if each.note.begun is not None]
        # The node may work on a larger request first, in another order than that of sending.
        longest = max([request, *begun], key=lambda each: each.note.units)
        silence = self.rate_model.silence(now)
        silence -= self.lag.since(now - silence)
        if silence <= self._limit(longest, now, times, least):
            return False
        # Other runs may have sent requests since, for which this one waits. This reads the shared folder, so it is done
        # only when the limit is reached.
        self.look_around()
        return silence > self._limit(longest, now, times, least)

    def _limit(self, request: Request, now: float, times: float, least: float) -> float:
        pauses = PAUSE_FACTOR * self.rate_model.pause(now) + LAG_FACTOR * self.lag.longest()
        return times * self._expected(request) + least + pauses

    def busy_seconds(self, now: float) -> float:
        """Return the seconds that a node may need for the requests which it serves before a probe."""
        return sum(
            self._expected(request) for request in self.requests
        ) + PAUSE_FACTOR * self.rate_model.pause(now)

    def stalled(self) -> bool:
        """Return whether one of its requests is overdue. A stalled node gets no other request."""
        return any(request.overdue for request in self.requests)

    def load(self, now: float, proof_error: float = 1.0) -> NodeLoad:
        """Return the node's load, from which request sizes follow.

        Args:
            proof_error: Corrects the estimate of a node without an answer, see `RateModel.proof_error`.
        """
        model = self.rate_model
        factor = proof_error if model.proof_error is None else 1.0
        return NodeLoad(
            model.free(now, factor), model.overhead, factor * model.unit_seconds(now), model.largest
        )

    def has_room(self) -> bool:
        """Return whether another request may go out, if there is a slot for it."""
        return (
            self.works
            and not self.stalled()
            and not self.refused
            and not self.held_back
            and not self.reserved
            and len(self.requests) < self.rate_model.limit
        )

    @property
    def has_free_slot(self) -> bool:
        """Whether the node would serve another request at once."""
        return len(self.requests) < self.rate_model.slots

    def take_slot(self, *, urgent: bool) -> bool:
        """Take a slot for another request, shared with all that use the node; return whether there was one."""
        node = self.client.node
        slot = self.shared_limits.take(node.server, node.max_in_flight, urgent=urgent)
        # The highest number is kept as long as a request is there that may wait for those of others.
        self.foreign_in_flight = max(slot.others, self.foreign_in_flight if self.requests else 0)
        self.refused = not slot.taken
        if slot.others and slot.slots is not None and self.rate_model.waves.measuring:
            self.rate_model.waves.adopt(slot.slots)
        return slot.taken

    def _expected(self, request: Request) -> float:
        """Return the seconds that a request should take, including requests of other runs before it."""
        # The sizes of other runs' requests are unknown, and at most that of a request of full size.
        own = self.rate_model.expected(request.note.units)
        return own + self.foreign_in_flight * max(own, MAX_REQUEST_S)

    def release_slot(self, *, found: bool) -> None:
        """Release a slot; `found` says that its request has shown how many requests the node serves at once."""
        self.shared_limits.release(self.client.node.server, self.rate_model.slots if found else None)

    def look_around(self) -> None:
        """Update how many requests other runs have in flight there."""
        self.foreign_in_flight = max(
            self.foreign_in_flight, self.shared_limits.others(self.client.node.server)
        )

    def time_limit(self, expected: float) -> float:
        """Return the seconds after which a request is cancelled."""
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
            p50=median(times) if times else 0.0,
            # Percentiles of one value are not defined in `statistics`; then it is the value itself.
            p95=quantiles(times, n=20)[-1] if len(times) > 1 else sum(times),
            errors=dict(self.breaker.errors),
            kinds=dict(self.breaker.kinds),
            last_error=str(self.breaker.last or ""),
            gone_since=self.breaker.gone_since,
            silent=self.breaker.only_silent,
            refused=not self.works and isinstance(self.breaker.last, NodeRefused),
        )
