"""The engine: one event loop that owns all nodes and one queue, from which the nodes pull.

Guarantees: every item ends with exactly one vector or one error; a failing node gets no real work until a
probe with the canary texts has passed; an item that waits for a slow, silent or dead node is given to an idle
one as well, and the first answer wins.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from prefect_ollama.blocks.errors import (
    ClusterError,
    InputRejected,
    NodeBusy,
    NodeError,
    NodeFailed,
    NodeRefused,
    NodeUnreachable,
    TextError,
    TextTooLong,
)
from prefect_ollama.blocks.wire.answer import Answer
from prefect_ollama.blocks.wire.client import NodeClient
from prefect_ollama.blocks.wire.proof import CANARIES, ProvenCluster, canary_vectors
from prefect_ollama.tasks.dispatch import sizing
from prefect_ollama.tasks.dispatch.figures import Figures, Span
from prefect_ollama.tasks.dispatch.job import Item, Job, estimate_units
from prefect_ollama.tasks.dispatch.lane import OVERDUE, OVERDUE_LEAST, Lane, Request
from prefect_ollama.tasks.dispatch.pace import Pace

CANARY_UNITS = sum(estimate_units(text) for text in CANARIES)

GUILT = 4.0
"""A text has failed for good when its requests, with it alone, failed on nodes that were well otherwise. A
failure counts 1, no answer at all a half (the node may have gone by chance), a clear word against the text 2."""

HEDGE_GAIN = 1.2
"""A second copy is sent when it should be there this many times sooner than the first."""

PROBE_TIMEOUT = 30.0
SPANS_KEPT = 20_000


class Engine:
    """Everything here runs in one event loop; `Dispatcher` is the way in from elsewhere.

    Args:
        cluster: The nodes with their proofs. Nodes without one start open and are probed.
    """

    def __init__(self, cluster: ProvenCluster) -> None:
        self.cluster = cluster
        self._loop = asyncio.get_running_loop()
        self._start = self._loop.time()
        self._queue: deque[Item] = deque()
        self._queued_units = 0.0
        self._jobs: set[Job] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._wake = False
        self._none_since: float | None = None
        self._spans: deque[Span] = deque(maxlen=SPANS_KEPT)
        self._most_texts = max(node.max_request_texts for node in cluster.spec.nodes)
        self._lanes: list[Lane] = []
        for node in cluster.spec.nodes:
            proof = cluster.proofs.get(node.name)
            seconds = proof.seconds if proof else 1.0
            lane = Lane(NodeClient(node, cluster.spec.model), Pace(CANARY_UNITS, seconds, node.max_in_flight))
            self._lanes.append(lane)
            if proof is None:
                reason = cluster.left_out.get(node.name)
                self._trip(lane, reason or NodeUnreachable("has not proven itself yet.", node=node.name))
            else:
                lane.warm = True

    def add(self, job: Job) -> None:
        """Take a job in. Urgent ones go before all others."""
        if not job.items:
            job.close()
            return
        self._jobs.add(job)
        self._enqueue(job.items, front=job.urgent)
        self._soon()

    def cancel(self, job: Job) -> None:
        """Drop a job whose caller is gone."""
        self._jobs.discard(job)
        job.drop()
        self._cancel_useless()
        self._soon()

    def figures(self, *, spans: bool = False) -> Figures:
        """A snapshot."""
        queued = sum(1 for item in self._queue if not item.done)
        return Figures(
            tuple(lane.figures() for lane in self._lanes), queued, tuple(self._spans) if spans else ()
        )

    async def aclose(self) -> None:
        """Cancel what is in flight, fail what is left, close the connections."""
        self._fail_all("The dispatcher was closed.")
        if self._timer:
            self._timer.cancel()
        tasks = [request.task for lane in self._lanes for request in lane.requests if request.task]
        tasks += [lane.probe for lane in self._lanes if lane.probe]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(lane.client.aclose() for lane in self._lanes))

    # ---- the queue

    def _enqueue(self, items: Iterable[Item], *, front: bool) -> None:
        waiting = [item for item in items if not item.done and not item.queued]
        for item in waiting:
            item.queued = True
            self._queued_units += item.units
        if front:
            self._queue.extendleft(reversed(waiting))
        else:
            self._queue.extend(waiting)

    def _peek(self) -> Item | None:
        while self._queue and self._queue[0].done:
            self._unqueue()
        return self._queue[0] if self._queue else None

    def _unqueue(self) -> Item:
        item = self._queue.popleft()
        item.queued = False
        self._queued_units -= item.units
        if not self._queue:
            self._queued_units = 0.0  # no drift from adding and taking away floats
        return item

    def _take(self, units: float, most: int, lane: Lane) -> list[Item]:
        """Items for one request: of one limit, none that the lane holds already."""
        taken: list[Item] = []
        total = 0.0
        while (item := self._peek()) is not None:
            most = min(most, item.limit)
            if taken and (len(taken) >= most or item.limit != taken[0].limit or total + item.units > units):
                break
            if not self._may_take(lane, item):
                break
            taken.append(self._unqueue())
            total += item.units
        return taken

    def _may_take(self, lane: Lane, item: Item) -> bool:
        """Not what it holds already; and what failed on it only when no other node is left to ask."""
        if item.copies and any(item in request.items for request in lane.requests):
            return False
        if lane.name not in item.accused:
            return True
        return not any(other.works and other.name not in item.accused for other in self._lanes)

    # ---- pulling

    def _soon(self) -> None:
        """Pump once after all that happens in this turn of the loop."""
        if not self._wake:
            self._wake = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._wake = False
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if not self._jobs:
            return
        now = self._loop.time()
        self._find_overdue(now)
        while (item := self._peek()) is not None:
            pulled = self._next_pull(now, item)
            if pulled is None:
                break
            lane, units = pulled
            batch = self._take(units, lane.client.node.max_request_texts, lane)
            if not batch:
                break
            self._send(lane, batch, now, hedge=False)
        self._hedge(now)
        self._watch(now)

    def _next_pull(self, now: float, item: Item) -> tuple[Lane, float] | None:
        """The lane that would be done with the next item soonest among those with room, and its share."""
        standings = {lane: lane.standing(now) for lane in self._lanes if lane.works and not lane.stalled()}
        if not standings:
            return None
        nodes = list(standings.values())
        end = sizing.common_end(self._queued_units, nodes)
        soonest = min(sizing.finish(node, item.units) for node in nodes)
        best: tuple[Lane, float] | None = None
        best_finish = 0.0
        for lane, node in standings.items():
            if not lane.has_room() or not self._may_take(lane, item):
                continue
            units = sizing.pull(node, end, soonest, item.units)
            done = sizing.finish(node, item.units)
            if units > 0 and (best is None or done < best_finish):
                best, best_finish = (lane, units), done
        return best

    def _hedge(self, now: float) -> None:
        """Let idle nodes do again what is expected late elsewhere. Only while nothing waits that they could do."""
        for lane in self._lanes:
            if lane.requests or not lane.has_room():
                continue
            best: tuple[float, Request] | None = None
            for other in self._lanes:
                if other is lane:
                    continue
                for request in other.requests:
                    items = request.open_items
                    if not items or any(item.copies > 1 or item.queued for item in items):
                        continue
                    mine = sizing.finish(lane.standing(now), sum(item.units for item in items)) + 0.002
                    due = other.due(request, now) if other.works else float("inf")
                    if due > HEDGE_GAIN * mine + 0.005 and (best is None or due > best[0]):
                        best = (due, request)
            if best is not None:
                self._send(lane, best[1].open_items, now, hedge=True)

    def _send(self, lane: Lane, items: list[Item], now: float, *, hedge: bool) -> None:
        units = sum(item.units for item in items)
        note = lane.pace.sent(now, units)
        expected = lane.pace.in_flight_units / lane.pace.rate(now) + units * (
            lane.pace.slots - 1
        ) / lane.pace.rate(now)
        request = Request(items, note, expected, hedge)
        for item in items:
            item.copies += 1
        lane.requests.append(request)
        lane.hedged += hedge
        request.task = self._loop.create_task(self._run(lane, request))

    async def _run(self, lane: Lane, request: Request) -> None:
        outcome = "lost"
        try:
            answer = await lane.client.embed(
                [item.text for item in request.items],
                timeout=lane.time_limit(request.expected),
                dimension=self.cluster.reference.dimension,
            )
        except InputRejected as error:
            outcome = "rejected"
            self._leave(lane, request)
            self._rejected(lane, request, error)
        except NodeError as error:
            outcome = "failed"
            self._leave(lane, request)
            if not isinstance(error, NodeBusy | NodeRefused):
                lane.suspects.append((request.items, error))
            self._enqueue(request.items, front=True)
            self._trip(lane, error)
        except BaseException:
            self._leave(lane, request)
            raise
        else:
            outcome = "hedge" if request.hedge else "ok"
            lane.requests.remove(request)
            for item in request.items:
                item.copies -= 1
            self._arrived(lane, request, answer)
        finally:
            start = request.note.at - self._start
            self._spans.append(
                Span(lane.name, start, self._loop.time() - self._start, len(request.items), outcome)
            )
            self._soon()

    def _leave(self, lane: Lane, request: Request) -> None:
        """Take a request that gave no vectors out of the books."""
        lane.pace.dropped(self._loop.time(), request.note)
        lane.requests.remove(request)
        for item in request.items:
            item.copies -= 1

    # ---- answers

    def _arrived(self, lane: Lane, request: Request, answer: Answer) -> None:
        now = self._loop.time()
        busy = lane.pace.finished(now, request.note)
        lane.busy += busy
        lane.answered += 1
        lane.warm = True
        lane.latencies.append(now - request.note.at)
        lane.breaker.progress()
        share = busy / len(request.items)
        tokens = answer.tokens // len(request.items)
        jobs: set[Job] = set()
        cleared: set[str] = set()
        for item, vector in zip(request.items, answer.vectors, strict=True):
            if item.done:
                lane.wasted += 1
                continue
            lane.texts += 1
            for name in item.accused:
                cleared.add(name)
            item.job.settle(item, vector, lane.name)
            item.job.charge(share, tokens)
            jobs.add(item.job)
        for other in self._lanes:
            if other.name in cleared and other.works:
                self._trip(other, NodeFailed(f"fails on texts that {lane.name!r} embeds.", node=other.name))
        self._close(jobs)
        self._cancel_useless()

    def _rejected(self, lane: Lane, request: Request, error: InputRejected) -> None:
        """A text of the request is at fault: halve until it stands alone, then ask a second node."""
        items = request.open_items
        if len(request.items) > 1:
            self._split(items, len(request.items))
            return
        for item in items:
            self._accuse(item, lane, error)

    def _split(self, items: list[Item], size: int) -> None:
        for item in items:
            item.limit = max(1, size // 2)
        self._enqueue(items, front=True)

    def _accuse(self, item: Item, lane: Lane, error: NodeError) -> None:
        """Blame an item that failed alone on a node that is well. Final only when no other node may differ."""
        weight = (
            2.0 if isinstance(error, InputRejected) else 0.5 if isinstance(error, NodeUnreachable) else 1.0
        )
        item.accused[lane.name] = item.accused.get(lane.name, 0.0) + weight
        others = any(other.works and other.name not in item.accused for other in self._lanes)
        enough = sum(item.accused.values()) >= GUILT or isinstance(error, InputRejected)
        if others or not enough:
            self._enqueue([item], front=True)
            return
        if isinstance(error, InputRejected) and error.too_long:
            failure: TextError = TextTooLong(
                f"{len(item.text)} characters are longer than the context of {self.cluster.spec.model.name!r}.",
                text=item.text,
                state="It was not cut.",
                remedy="Split it into smaller texts, or raise num_ctx if the model can take more.",
            )
        else:
            failure = TextError(
                f"it failed on {', '.join(sorted(item.accused))} while other texts did not ({error.cause}).",
                text=item.text,
                state="It has no vector; the texts beside it have theirs.",
                remedy="Look at the text itself: it may crash the model's runner.",
            )
        item.job.refuse(item, failure)
        self._close({item.job})
        self._cancel_useless()

    def _close(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            if job.left == 0:
                self._jobs.discard(job)
                job.close()

    def _cancel_useless(self) -> None:
        """Cancel requests of which every item is done elsewhere."""
        for lane in self._lanes:
            for request in lane.requests:
                if request.task and all(item.done for item in request.items):
                    if request.overdue:
                        self._rest(lane, request)
                    request.task.cancel()

    # ---- failing nodes

    def _find_overdue(self, now: float) -> None:
        for lane in self._lanes:
            for request in lane.requests:
                if not request.overdue and now - request.note.at > self._overdue_after(request):
                    request.overdue = True
                    self._enqueue((item for item in request.items if item.copies == 1), front=True)

    def _overdue_after(self, request: Request) -> float:
        return OVERDUE * request.expected + OVERDUE_LEAST

    def _rest(self, lane: Lane, request: Request) -> None:
        """A node whose work was done elsewhere because it was silent must prove itself before it gets more."""
        if lane.works and lane.pace.silence(self._loop.time()) > self._overdue_after(request):
            self._trip(
                lane, NodeUnreachable("was silent for far longer than its work takes.", node=lane.name)
            )

    def _trip(self, lane: Lane, error: NodeError) -> None:
        wait = lane.breaker.trip(error)
        if lane.probe is None:
            lane.probe = self._loop.create_task(self._probe(lane, wait))
        if self._none_since is None and not any(other.works for other in self._lanes):
            self._none_since = self._loop.time()

    async def _probe(self, lane: Lane, wait: float) -> None:
        """Ask with the canary texts until the node is well again."""
        timeout = PROBE_TIMEOUT
        while True:
            await asyncio.sleep(wait)
            lane.breaker.half_open()
            try:
                vectors, seconds = await canary_vectors(
                    lane.client, timeout=min(timeout, lane.client.node.load_timeout)
                )
                if not self.cluster.reference.same_vectors(vectors):
                    raise NodeRefused("gives other vectors than the rest.", node=lane.name)
                break
            except NodeError as error:
                wait = lane.breaker.trip(error)
                timeout *= 2
        lane.probe = None
        lane.breaker.close()
        lane.warm = True
        lane.pace.start_over(CANARY_UNITS, seconds)
        self._none_since = None
        self._judge(lane)
        self._soon()

    def _judge(self, lane: Lane) -> None:
        """The node is well, so what failed on it is to blame: halve it, or accuse the one text."""
        suspects, lane.suspects = lane.suspects, []
        for items, error in suspects:
            waiting = [item for item in items if not item.done]
            if len(items) > 1:
                for item in waiting:
                    item.limit = min(item.limit, max(1, len(items) // 2))
            elif waiting and waiting[0].queued:
                item = waiting[0]
                self._queue.remove(item)
                item.queued = False
                self._queued_units -= item.units
                self._accuse(item, lane, error)

    # ---- time

    def _watch(self, now: float) -> None:
        """Look again when the next request would be overdue, or the nodes have been gone for too long."""
        moments = [
            request.note.at + self._overdue_after(request)
            for lane in self._lanes
            for request in lane.requests
            if not request.overdue
        ]
        if self._none_since is not None:
            end = self._none_since + self.cluster.spec.give_up_after
            if now >= end:
                self._fail_all(f"No node worked for {self.cluster.spec.give_up_after:.0f} s.")
                return
            moments.append(end)
        if self._jobs and not self._queue and any(lane.works and not lane.requests for lane in self._lanes):
            moments.append(now + 0.05)  # an idle node may take over work that turns out late
        if moments:
            self._timer = self._loop.call_at(max(min(moments), now + 0.001), self._pump)

    def _fail_all(self, why: str) -> None:
        if not self._jobs:
            return
        left = sum(job.left for job in self._jobs)
        causes = "\n".join(
            f"  {lane.breaker.last}" for lane in self._lanes if lane.breaker.last and not lane.works
        )
        error = ClusterError(
            f"{why} {left} texts are left.\n{causes}".rstrip(),
            left=left,
            state="What was embedded before is kept.",
            remedy="Bring a node back and run again.",
        )
        for job in list(self._jobs):
            job.fail(error)
        self._jobs.clear()
        self._cancel_useless()
