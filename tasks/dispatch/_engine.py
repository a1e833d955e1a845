"""The engine: one event loop that owns all nodes and one queue, from which the nodes pull.

The engine does not know what the items hold: see `_request_kind`.

Guarantees: every item ends with exactly one result or one error. A failing node gets no real work until it has passed a
probe. An item at a slow, silent or dead node is also given to an idle node, and the first answer wins.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from prefect_ollama.blocks.errors import (
    AnswerRejected,
    InputRejected,
    NodeBusy,
    NodeError,
    NodeFailed,
    NodeRefused,
)
from prefect_ollama.blocks.nodes import ClusterSpec, LoopLag
from prefect_ollama.tasks.dispatch import _batch_size as batch_size
from prefect_ollama.tasks.dispatch import _poison_texts as poison_texts
from prefect_ollama.tasks.dispatch import _scheduling as scheduling
from prefect_ollama.tasks.dispatch._health import Health, as_node_error
from prefect_ollama.tasks.dispatch._job import Item, Job
from prefect_ollama.tasks.dispatch._late_requests import LateRequests
from prefect_ollama.tasks.dispatch._node import OVERDUE_EXTRA_S, OVERDUE_FACTOR, Node, Request
from prefect_ollama.tasks.dispatch._questions import POLL_S, ForeignQuestions
from prefect_ollama.tasks.dispatch._queue import Queue
from prefect_ollama.tasks.dispatch._rate_model import RateModel, Sent
from prefect_ollama.tasks.dispatch._request_kind import Carried, Findings, Reply, RequestKind
from prefect_ollama.tasks.dispatch._shared_limits import SharedLimits
from prefect_ollama.tasks.dispatch.stats import NodeStats

# Seconds of work left below which all requests that a node gets at once count as its last ones. Before that, checks
# would come too early: other nodes still get requests.
LAST_ROUND_S = batch_size.MAX_REQUEST_S / 2


class Engine:
    """Owns the nodes and the queue. Runs in one event loop; other threads use `Dispatcher`.

    Args:
        kind: The kind of request. Nodes that are not verified start with an open breaker and are probed.
        cluster: The nodes.
        shared_limits: The limits that all users of the nodes share.
    """

    def __init__(self, kind: RequestKind, cluster: ClusterSpec, shared_limits: SharedLimits) -> None:
        self._kind = kind
        self._give_up_after = cluster.give_up_after
        self._loop = asyncio.get_running_loop()
        self._queue = Queue(max(kind.most_items(node) for node in cluster.nodes))
        self._jobs: set[Job[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._awake = False
        self._numbers = itertools.count()
        self._shared_limits = shared_limits
        self._lag = LoopLag()
        self._nodes: list[Node] = []
        for node in cluster.nodes:
            seconds, slots = kind.proven_seconds(node.name), self._shared_limits.slots(node.server)
            rate_model = RateModel(
                kind.first_units, 1.0 if seconds is None else seconds, node.max_in_flight, slots
            )
            warm = seconds is not None and not kind.loads
            self._nodes.append(
                Node(kind.connect(node), rate_model, self._shared_limits, self._lag, warm=warm)
            )
        self._health = Health(kind, cluster.give_up_after, self._nodes, self._recovered)
        self._late = LateRequests(self._nodes, self._queue, self._health)
        self._questions = ForeignQuestions(
            self._nodes, self._queue, self._late, shared_limits, self._schedule_pump
        )
        self._answer_check = kind.answer_check(self._nodes, self._loop.time())

    def add(self, job: Job[Any]) -> None:
        """Queue a job. Urgent jobs go before all others."""
        if job.left == 0:
            job.close()
            return
        self._jobs.add(job)
        self._lag.start()
        self._health.want(True)
        if job.urgent:
            for node in self._nodes:
                self._late.take_back_bulk(node, front=True)
        self._queue.put(job.items, front=job.urgent)
        self._schedule_pump()

    def cancel(self, job: Job[Any]) -> None:
        """Drop a job whose caller is gone."""
        job.drop()
        self._close({job})
        self._give_up_useless()
        self._schedule_pump()

    def stats(self) -> tuple[NodeStats, ...]:
        """Return the statistics of all nodes so far."""
        return tuple(node.stats() for node in self._nodes)

    @property
    def idle(self) -> bool:
        """Whether the engine has no work."""
        return not self._jobs

    async def aclose(self) -> None:
        """Cancel the requests in flight, fail the jobs that are left, and close the connections."""
        # First the jobs, so that no caller waits for the end of the connections.
        self._lag.stop()
        self._fail_all("The dispatcher was closed.", "Open another one for what is left.")
        if self._timer:
            self._timer.cancel()
        tasks: list[asyncio.Task[Reply] | asyncio.Task[None]] = []
        for node in self._nodes:
            tasks += [request.task for request in node.requests]
            tasks += [node.probe] if node.probe else []
        for task in tasks:
            task.cancel()
        # Errors of requests whose callers have stopped waiting are dropped here.
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(node.client.aclose() for node in self._nodes))
        self._shared_limits.close()

    # ---- sending

    def _schedule_pump(self) -> None:
        """Schedule one `_pump`, after all events of this turn of the loop."""
        # Many answers may arrive in one turn. Sending after each would see nodes idle whose answer is still unread.
        if not self._awake:
            self._awake = True
            self._loop.call_soon(self._guard, self._pump)

    def _guard(self, step: Callable[[], None]) -> None:
        """Fail all jobs if a step fails, so that no caller waits for ever."""
        try:
            step()
        except Exception as error:
            self._fail_all(
                f"The dispatcher itself failed ({error!r}).", "Report this as a bug, with the log."
            )
            raise

    def _pump(self) -> None:
        self._awake = False
        if self._timer:
            self._timer.cancel()
            self._timer = None
        # Slots are asked for again in each round: other runs may have released some.
        for node in self._nodes:
            node.refused = False
        if not self._jobs:
            self._lag.stop()
            self._questions.stop()
            self._shared_limits.ask_only(())
            return
        now = self._loop.time()
        # The order matters. Late texts must be back in the queue before nodes pull. Quarantined texts go before new
        # ones, because their jobs have waited longest. Hedges come last, for nodes that found nothing in the queue.
        self._late.find(now)
        self._questions.hold_back(now)
        self._clear_quarantine(now)
        check_units, seconds = 0.0, math.inf
        if (item := self._queue.head()) is not None:
            seconds = scheduling.seconds_left(self._nodes, self._queue.units, item, now)
            # Checks are work too. Without them the requests before the last one would be too small, and the few texts
            # that are left would need requests of their own.
            check_units = self._answer_check.plan_end(seconds, item.units, now)
        while (item := self._queue.head()) is not None:
            pulled = scheduling.next_pull(self._nodes, self._queue.units + check_units, item, now)
            if pulled is None:
                break
            node, units = pulled
            if not node.take_slot(urgent=item.job.urgent):
                continue
            # The last requests also carry checks, so they take fewer texts, and the nodes still end together.
            requests = node.rate_model.limit - len(node.requests) if seconds <= LAST_ROUND_S else 1
            last = units * requests >= self._queue.units
            if last:
                units -= self._answer_check.check_cost(node, now)
            self._send(node, self._queue.take(units, self._answer_check.room(node)), now, last=last)
            check_units = max(check_units - node.requests[-1].carried.units, 0.0)
        self._hedge(now)
        pending_checks, found = self._answer_check.pending_checks(now, last=self._queue.head() is None)
        for node, carried in pending_checks:
            self._call(node, [], carried, now)
        self._apply_findings(found)
        self._shared_limits.ask_only({node.client.node.server for node in self._nodes if node.refused})
        self._set_timer(now)

    def _clear_quarantine(self, now: float) -> None:
        """Reject the texts in quarantine whose failure is final, and send the other texts to further nodes."""
        others_wait = self._queue.head() is not None
        refused: set[Job[Any]] = set()
        for item in list(self._queue.quarantine):
            if not item.answered and (error := poison_texts.final_error(item, self._nodes, self._kind, now)):
                item.job.refuse(item, error)
                refused.add(item.job)
            if item.answered:
                self._queue.leave_quarantine(item)
                continue
            able = [
                node
                for node in self._nodes
                if node.has_room()
                and poison_texts.may_try(item, node, self._nodes, now, others_wait=others_wait)
            ]
            if able:
                node = min(able, key=lambda node: batch_size.finish(node.load(now), item.units))
                if not node.take_slot(urgent=item.job.urgent):
                    continue
                self._queue.leave_quarantine(item)
                self._send(node, [item], now)
        self._close(refused)

    def _hedge(self, now: float) -> None:
        """Let nodes with a free slot repeat requests that are expected late elsewhere."""
        while found := scheduling.to_hedge(self._nodes, now):
            node, request = found
            items = request.open_items
            if node.take_slot(urgent=any(item.job.urgent for item in items)):
                node.hedged += 1
                self._send(node, items, now)

    def _send(self, node: Node, items: list[Item], now: float, *, last: bool = False) -> None:
        left = 0.0 if self._queue.head() is None else self._queue.units
        carried = self._answer_check.to_carry(node, items, now, left=left, last=last or left <= 0)
        self._call(node, items, carried, now)

    def _call(self, node: Node, items: list[Item], carried: Carried, now: float) -> None:
        # A request without texts of its own is too short to show how many requests the node serves at once.
        note = node.rate_model.sent(
            now, sum(item.units for item in items) + carried.units, judged=bool(items)
        )
        payloads = [*(item.sent for item in items), *carried.payloads]
        limit = node.time_limit(node.rate_model.due(now, note))
        progress = partial(self._progressed, node, note)
        call = self._kind.send(node.client, payloads, timeout=limit, progress=progress)
        request = Request(
            items,
            note,
            self._loop.create_task(call),
            next(self._numbers),
            carried,
            answers_before=node.answered,
        )
        for item in items:
            item.copies += 1
        node.requests.append(request)
        request.task.add_done_callback(lambda task: self._guard(partial(self._ended, node, request)))

    # ---- answers

    def _progressed(self, node: Node, note: Sent, units: float) -> None:
        node.rate_model.heard(self._loop.time(), note, units)

    def _ended(self, node: Node, request: Request) -> None:
        now = self._loop.time()
        node.requests.remove(request)
        probing_slots = node.rate_model.probing_slots
        if not request.overdue:
            for item in request.items:
                item.copies -= 1
        # A request that was given up may have been answered in the same turn of the loop: its node may be the one that
        # has just failed a check.
        cancelled = request.given_up or request.task.cancelled()
        error = None if request.task.cancelled() else request.task.exception()
        if cancelled or error is not None:
            # The rate model comes first: what follows may send new requests, whose size follows from it.
            node.rate_model.dropped(now, request.note)
            self._apply_findings(self._answer_check.failed(request, cancelled=cancelled))
            if cancelled:
                # An answer from elsewhere may have been discarded since.
                self._queue.put(request.open_items, front=True)
            if error is not None and not cancelled:
                self._failed(node, request, as_node_error(error, node))
        else:
            self._arrived(node, request, request.task.result(), now)
        if request.items:  # a request that only checks a node is a few words, and takes no slot
            node.release_slot(found=probing_slots and not node.rate_model.probing_slots)
        self._schedule_pump()

    def _arrived(self, node: Node, request: Request, reply: Reply, now: float) -> None:
        # The node has counted the tokens; the estimate was only needed to send.
        request.note.units = self._kind.actual_units(reply, request.note.units)
        busy = node.rate_model.finished(now, request.note)
        node.busy += busy
        node.answered += 1
        node.warm = True
        node.latencies.append(now - request.note.at)
        self._queue.request_done()
        request.place = node.answered
        node.wasted += len(request.items)
        for item in request.items:
            if not item.answered:
                self._count(item, node)
            item.held += 1
        # The cost of its texts includes its checks.
        request.share = busy / max(len(request.items), 1), reply.tokens // max(len(request.items), 1)
        self._apply_findings(self._answer_check.arrived(node, request, reply))
        self._give_up_useless()

    def _apply_findings(self, found: Findings) -> None:
        """Give confirmed answers to their jobs, and send the items of discarded answers to other nodes."""
        for node, request, reply in found.confirmed:
            self._settle(node, request, reply)
        for node, items in found.lost:
            self._throw_away(node, items)
        for node, error in found.failed_checks:
            self._discard_unverified(node, error)

    def _settle(self, node: Node, request: Request, reply: Reply) -> None:
        self._health.progress(node)
        jobs: set[Job[Any]] = set()
        for item, result in zip(request.items, self._kind.results(reply), strict=False):
            item.held -= 1
            if item.done:
                continue
            if item.counted is not node:  # a hedge was confirmed before the answer that came first
                self._count(item, node)
            item.job.settle(item, result, node.name, request.share)
            jobs.add(item.job)
            self._distrust_rejecting_nodes(item, node)
        for job in jobs:
            if job.revalue():
                self._revalue(job)
        self._close(jobs)

    def _revalue(self, job: Job[Any]) -> None:
        """Follow the changed estimates of a job, in the queue and in flight."""
        self._queue.recount()
        for node in self._nodes:
            for request in node.requests:
                if any(item.job is job for item in request.items):
                    units = sum(item.units for item in request.items)
                    request.note.units = max(units, request.note.heard)

    def _discard_unverified(self, node: Node, error: NodeError) -> None:
        """Discard the unconfirmed answers of a node, and take back its requests in flight."""
        self._throw_away(node, self._answer_check.discard_unverified(node))
        for request in node.requests:
            if not request.overdue:
                self._late.take_back(request, front=True)
            request.give_up()
        self._health.trip(node, error)

    def _throw_away(self, node: Node, items: list[Item]) -> None:
        for item in items:
            item.held -= 1
        # A hedge may have answered some of the items, or hold another answer for them.
        open_items = [item for item in items if not item.answered]
        for item in open_items:
            self._count(item, None)
        self._queue.put(open_items, front=True)

    def _count(self, item: Item, node: Node | None) -> None:
        """Count an item for one node, the one whose answer is used; it is waste of all others that answered it."""
        for counting, change in ((item.counted, -1), (node, 1)):
            if counting is not None:
                counting.texts += change
                counting.wasted -= change
        item.counted = node

    def _recovered(self, node: Node, answers: int) -> None:
        for request in node.requests:
            if request.overdue:
                request.give_up()
        for confirmed in self._answer_check.verified(node, answers):
            self._settle(*confirmed)
        self._schedule_pump()

    def _distrust_rejecting_nodes(self, item: Item, node: Node) -> None:
        """Open the breaker of every node that rejected a text which this node has embedded."""
        for other in self._nodes:
            said = item.failures.get(other.name)
            if said and other is not node and other.works and isinstance(said.error, InputRejected):
                error = NodeFailed(f"rejects texts that others embed: {said.error.cause}", node=other.name)
                self._health.trip(other, error)

    def _failed(self, node: Node, request: Request, error: NodeError) -> None:
        """Send the texts to other nodes, and find out whether node or text failed, see `_poison_texts`."""
        not_the_texts_fault = isinstance(error, NodeBusy | NodeRefused)
        # The failure may be due to a check that it carried for another node.
        alone = len(request.items) == 1 and not request.carried.checks and not not_the_texts_fault
        certain = poison_texts.is_certain(error)
        if alone and certain:
            poison_texts.record_failure(request.items[0], node, error)
            if isinstance(error, AnswerRejected):
                node.breaker.note(error)
        elif alone:
            # The failure counts against the text only if the node passes its next probe (`Health`).
            node.suspects.append((request.items[0], error))
        elif not not_the_texts_fault:
            self._queue.request_failed(request.items)
        self._queue.put(request.items, front=True, alone=alone)
        if not (certain or (isinstance(error, InputRejected) and not alone)):
            self._health.trip(node, error)

    def _close(self, jobs: Iterable[Job[Any]]) -> None:
        for job in jobs:
            if job.left == 0:
                self._jobs.discard(job)
                job.close()
        self._health.want(bool(self._jobs))

    def _give_up_useless(self) -> None:
        """Cancel requests of which every item is done elsewhere."""
        now = self._loop.time()
        for node in self._nodes:
            for request in node.requests:
                useless = request.items and all(item.answered for item in request.items)
                if useless and not request.given_up and not self._answer_check.needs(request):
                    if node.works and node.silent_for_long(request, now, OVERDUE_FACTOR, OVERDUE_EXTRA_S):
                        self._health.trip_silent(node)
                    request.give_up()

    # ---- time

    def _set_timer(self, now: float) -> None:
        """Set the timer for the next moment at which a request becomes late, or the run gives up without nodes."""
        moments = self._late.moments(now)
        if (end := self._health.gives_up_at()) is not None:
            if now >= end:
                limit_s = self._give_up_after
                why = f"No node has {self._kind.work} for {limit_s:g} s:\n{self._health.causes()}\n"
                self._fail_all(why, "Repair at least one node and run again.")
                return
            moments.append(end)
        if self._jobs and any(node.works and node.has_free_slot for node in self._nodes):
            moments.append(now + POLL_S)  # it may repeat a request that becomes late
        if any(node.refused for node in self._nodes):
            moments.append(now + POLL_S)
        if self._queue.quarantine:  # texts do not wait for a node that is gone
            moments += [node.breaker.rests_until for node in self._nodes if node.breaker.resting(now)]
        if (moment := min(moments, default=math.inf)) < math.inf:
            # Never at once: a moment in the past would make the loop spin.
            self._timer = self._loop.call_at(max(moment, now + 0.001), self._guard, self._pump)

    def _fail_all(self, why: str, remedy: str) -> None:
        # Each job keeps its results so far.
        for job in self._jobs:
            job.fail(why, remedy)
        self._jobs.clear()
        self._questions.stop()
        self._health.want(False)
        self._give_up_useless()
