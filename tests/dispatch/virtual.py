"""The engine in virtual time: an event loop whose clock jumps to the next moment at which something happens.

How busy it keeps nodes can so be tested on any machine, however loaded, and comes out the same each time. Time and
the wire are doubled and nothing else; the same cases over real HTTP are in `benchmarks/dispatch.py`.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from prefect_ollama.blocks.errors import NodeFailed, NodeUnreachable
from prefect_ollama.blocks.nodes.canaries import CANARIES, SHORT
from prefect_ollama.blocks.nodes.embed_response import Answer, Vectors
from prefect_ollama.blocks.nodes.endpoint import NodeModel
from prefect_ollama.blocks.nodes.fingerprint import Fingerprint
from prefect_ollama.blocks.nodes.spec import ClusterSpec, ModelSpec, NodeSpec
from prefect_ollama.blocks.nodes.verification import NodeVerification, VerifiedCluster
from prefect_ollama.tasks.dispatch import Embedded, NodeStats
from prefect_ollama.tasks.dispatch import _embedding_kind as embedding_kind
from prefect_ollama.tasks.dispatch._embedding_kind import EmbeddingKind
from prefect_ollama.tasks.dispatch._engine import Engine
from prefect_ollama.tasks.dispatch._rate_model import RateModel
from prefect_ollama.tasks.dispatch._shared_limits import SharedLimits
from prefect_ollama.tasks.dispatch.embedding import EmbeddingJob
from tests.nodes import expected_vector
from tests.nodes.bursts import ALWAYS, Bursts, least_time

DIMENSION = 8
VERSION = "0.33.0"
SIZE = 64
"""Texts of the requests that saturate a node."""

SLOWED = 0.1


class VirtualLoop(asyncio.SelectorEventLoop):
    """Waits for nothing: when nobody is ready, it is later at once.

    Args:
        turn: Seconds that each turn of the loop takes, as in a process that gets a core now and then.
        stop: When the process is stopped, and for how many seconds; None for never.
        stalls: Every how many seconds the process gets no core, and for how long; None for never. What came meanwhile
            is found in the reverse order, as a selector may give it.
        torn: Seconds for which the process gets no core again after each of these that it has read.
    """

    def __init__(
        self,
        turn: float = 0.0,
        stop: tuple[float, float] | None = None,
        stalls: tuple[float, float] | None = None,
        torn: float = 0.0,
    ) -> None:
        super().__init__()
        self._torn = torn
        self._stalls = stalls
        self._next_stall = stalls[0] if stalls else 0.0
        self._now = 0.0
        self._turn = turn
        self._stop = stop

    def time(self) -> float:
        """The virtual time, in seconds."""
        return self._now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            times = [handle.when() for handle in self._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
            self._now = max([self._now, *([min(times)] if times else [])])
        self._now += self._turn
        if self._stop is not None and self._now >= self._stop[0]:
            self._now += self._stop[1]
            self._stop = None
        if self._stalls is not None and self._now >= self._next_stall:
            self._now += self._stalls[1]
            self._next_stall = self._now + self._stalls[0]
            self._reverse_due()
        super()._run_once()  # type: ignore[misc]

    def _reverse_due(self) -> None:
        due = [handle for handle in self._scheduled if handle.when() <= self._now]  # type: ignore[attr-defined]
        times = sorted(handle.when() for handle in due)
        late_first = sorted(due, key=lambda handle: -handle.when())
        for at, (handle, when) in enumerate(zip(late_first, times, strict=True)):
            handle._when = self._now + at * self._torn if self._torn else when
        heapq.heapify(self._scheduled)  # type: ignore[attr-defined]


@dataclass
class VirtualNode:
    """A node with a set service time, FIFO over a number of slots; as `tests.nodes.Settings` has it.

    Attributes:
        texts_per_second: Rate of all slots together.
        request_overhead: Seconds that a request holds its slot on top of its texts.
        slots: Requests served at the same time.
        latency: Seconds on the way, there and back.
        overtakes: One request in so many is there in a third of the time, before those sent together with it; None
            for none.
        lies_after: Requests after which it gives other vectors; None never.
        lies_by: Cosine of these to the right ones, as of another quantization; 0 for another model.
        heals: Whether it gives right vectors again from its first probe on.
        mixes_after: Requests after which it gives vectors in the wrong order, where there is more than one; None never.
        dies_after: Requests after which it can't be reached; None never.
        one_at_a_time: Whether it fails a request that comes while it has another one.
        gone: Second from which it can't be reached, and for how many seconds; None never.
        slows_at: Second at which it slows to a tenth, in the middle of a request too; None never.
        bursts: When it works at all, in the middle of a request too.
        letters: Length of a text that counts as one, a shorter one as its part of that; 0 counts every text as one.
    """

    texts_per_second: float
    request_overhead: float = 0.0
    slots: int = 1
    latency: float = 0.004
    overtakes: int | None = None
    lies_after: int | None = None
    lies_by: float = 0.0
    heals: bool = False
    mixes_after: int | None = None
    dies_after: int | None = None
    one_at_a_time: bool = False
    gone: tuple[float, float] | None = None
    slows_at: float | None = None
    bursts: Bursts = ALWAYS
    letters: int = 0
    sent: int = 0
    requests: int = 0
    in_hand: int = 0
    largest: int = 0
    served: Counter[str] = field(default_factory=Counter)
    queue: asyncio.Semaphore = field(init=False)

    def seconds(self, texts: float) -> float:
        """Service time of a request."""
        return self.request_overhead + self.slots * texts / self.texts_per_second

    def count(self, texts: Sequence[str]) -> float:
        """How many texts these count as."""
        return sum(map(len, texts)) / self.letters if self.letters else len(texts)

    async def serve(self, texts: float) -> None:
        """Take the time of a request."""
        left, now = self.seconds(texts), asyncio.get_running_loop().time()
        left = self.bursts.end(now, left) - now
        quick = left if self.slows_at is None else min(left, max(0.0, self.slows_at - now))
        await asyncio.sleep(quick)
        await asyncio.sleep((left - quick) / SLOWED)

    @property
    def saturated(self) -> float:
        """Texts a second when it always has large requests, in a burst."""
        return self.slots * SIZE / self.seconds(SIZE)

    def could(self, until: float) -> float:
        """Texts that it can embed by then."""
        return self.saturated * (self.bursts.worked(until) - self.bursts.worked(0.0))


class VirtualClient:
    """An endpoint without a server."""

    nodes: dict[str, VirtualNode]

    def __init__(self, node: NodeSpec, model: ModelSpec) -> None:
        self.node = node
        self.model = model
        self.virtual = self.nodes[node.name]
        self.virtual.queue = asyncio.Semaphore(self.virtual.slots)

    async def embed(self, texts: Sequence[str], *, timeout: float, dimension: int | None = None) -> Answer:
        """Serve a request."""
        self.virtual.sent += 1
        late = self.virtual.overtakes is not None and self.virtual.sent % self.virtual.overtakes > 0
        # asyncio keeps no order among timers of one moment.
        await asyncio.sleep(self.virtual.latency * (1.5 if late else 0.5) + 1e-7 * self.virtual.sent)
        self.virtual.requests += 1
        self.virtual.largest = max(self.virtual.largest, len(texts))
        self.virtual.served.update(texts)
        self._be_there()
        lies = self._after(self.virtual.lies_after)
        mixes = self._after(self.virtual.mixes_after)
        if self.virtual.one_at_a_time and self.virtual.in_hand:
            raise NodeFailed("failed (500).", node=self.node.name)
        self.virtual.in_hand += 1
        try:
            async with self.virtual.queue:
                await self.virtual.serve(self.virtual.count(texts))
        finally:
            self.virtual.in_hand -= 1
        await asyncio.sleep(self.virtual.latency / 2)
        near = self.virtual.lies_by
        vectors = _vectors(texts, "b" if lies and not near else "a", near if lies and near else 1.0)
        return Answer(np.roll(vectors, int(mixes), axis=0), 0)

    async def build(self, *, timeout: float = 30.0) -> NodeModel:
        """What it is."""
        await asyncio.sleep(self.virtual.latency / 2)
        self._be_there()
        if self.virtual.heals:
            self.virtual.lies_after = self.virtual.mixes_after = None
        return NodeModel(VERSION, "digest")

    def _be_there(self) -> None:
        gone, now = self.virtual.gone, asyncio.get_running_loop().time()
        if self._after(self.virtual.dies_after) or (gone and gone[0] <= now < sum(gone)):
            raise NodeUnreachable("is not there.", node=self.node.name)

    def _after(self, requests: int | None) -> bool:
        return requests is not None and self.virtual.requests > requests

    async def aclose(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True)
class Outcome:
    """What came, in how many virtual seconds, and what the nodes did."""

    embedded: Embedded
    seconds: float
    stats: tuple[NodeStats, ...]


def embed(
    patch: pytest.MonkeyPatch,
    made: Sequence[VirtualNode],
    texts: Sequence[str],
    *,
    most: int | Sequence[int] = 128,
    assumed: int | None = None,
    loop: Callable[[], VirtualLoop] = VirtualLoop,
) -> Outcome:
    """Embed texts on proven virtual nodes.

    Args:
        patch: Takes the virtual clients away at its end.
        made: The nodes.
        texts: The texts.
        most: Texts in a request at most, of all nodes or of each.
        assumed: Slots that the dispatcher takes every node to have, whatever it really has; None lets it find out.
        loop: Makes the loop.

    Raises:
        Unfinished: No node was left.
    """
    VirtualClient.nodes = {f"n{i}": node for i, node in enumerate(made)}
    patch.setattr(embedding_kind, "open_endpoint", VirtualClient)
    if assumed is not None:
        start_over = RateModel.start_over

        def assume(rate_model: RateModel, units: float, seconds: float, slots: int | None = None) -> None:
            start_over(rate_model, units, seconds, slots)
            rate_model.waves.adopt(assumed)

        patch.setattr(RateModel, "start_over", assume)
    reference = Fingerprint.measured(CANARIES, _vectors(CANARIES, "a"), digest="digest", version=VERSION)
    verifications = {
        name: NodeVerification(name, VERSION, "digest", node.seconds(node.count(SHORT)) + node.latency)
        for name, node in VirtualClient.nodes.items()
    }
    limits = [most] * len(made) if isinstance(most, int) else most
    named = zip(verifications, limits, strict=True)
    each = tuple(NodeSpec(name, max_request_texts=limit) for name, limit in named)
    spec = ClusterSpec(each, ModelSpec("virtual"), give_up_after=20.0)
    cluster = VerifiedCluster(spec, reference, verifications)

    async def run() -> Outcome:
        dispatch = Engine(EmbeddingKind(cluster), spec, SharedLimits(None))
        job = EmbeddingJob(list(texts), DIMENSION, prefix="", urgent=False, limit=max(limits))
        dispatch.add(job)
        embedded = await asyncio.wrap_future(job.future)
        outcome = Outcome(embedded, asyncio.get_running_loop().time(), dispatch.stats())
        await dispatch.aclose()
        return outcome

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(run())


def possible(made: Sequence[VirtualNode], texts: int) -> float:
    """Seconds that so many texts take when every node is busy whenever it can work."""
    return least_time(texts, [(node.saturated, node.bursts) for node in made])


def _vectors(texts: Sequence[str], weights: str, cosine: float = 1.0) -> Vectors:
    return np.stack([expected_vector(text, DIMENSION, weights, cosine=cosine) for text in texts])
