"""Sending: nodes pull items from the queue, try items in quarantine, repeat late requests and check other nodes."""

import asyncio
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from prefect_ollama.tasks.dispatch import _batch_size as batch_size
from prefect_ollama.tasks.dispatch import _poison_texts as poison_texts
from prefect_ollama.tasks.dispatch import _scheduling as scheduling
from prefect_ollama.tasks.dispatch._job import Item
from prefect_ollama.tasks.dispatch._node import Node
from prefect_ollama.tasks.dispatch._queue import Queue
from prefect_ollama.tasks.dispatch._request import Request
from prefect_ollama.tasks.dispatch._request_kind import AnswerCheck, Carried, Findings, RequestKind

# Seconds of work left below which all requests that a node gets at once count as its last ones. Before that, checks
# would come too early: other nodes still get requests.
LAST_ROUND_S = batch_size.MAX_REQUEST_S / 2


@dataclass(frozen=True, eq=False)
class Sender:
    """Sends requests to the nodes that have room for them.

    Attributes:
        check: Says which checks a request carries.
        ended: Called when a request has ended.
        numbers: The numbers of further requests.
    """

    kind: RequestKind
    nodes: Sequence[Node]
    queue: Queue
    check: AnswerCheck
    ended: Callable[[Node, Request], None]
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def send(self, now: float) -> Findings:
        """Send what has room, and return the answers that cannot be checked any more."""
        # The order matters. Quarantined texts go before new ones, because their jobs have waited longest. Hedges come
        # last, for nodes that found nothing in the queue.
        self._try_quarantine(now)
        self._pull(now)
        self._hedge(now)
        pending_checks, found = self.check.pending_checks(now, last=self.queue.head() is None)
        for node, carried in pending_checks:
            self._call(node, [], carried, now)
        return found

    def _try_quarantine(self, now: float) -> None:
        """Send each text in quarantine to a further node, alone."""
        others_wait = (head := self.queue.head()) is not None
        question_waits = head is not None and head.job.urgent
        for each in self.nodes:
            tried = (request.items[0] for request in each.requests if len(request.items) == 1)
            each.reserved = not question_waits and any(
                poison_texts.failed_before(item, each) for item in tried
            )
        for item in list(self.queue.quarantine):
            if item.answered:
                self.queue.leave_quarantine(item)
                continue
            able = [
                node
                for node in self.nodes
                if node.has_room()
                and poison_texts.may_try(item, node, self.nodes, now, others_wait=others_wait)
            ]
            node = min(able, key=lambda node: batch_size.finish(node.load(now), item.units), default=None)
            if node is None:
                continue
            # A server may fail only while it has several requests.
            again = poison_texts.failed_before(item, node) and not item.job.urgent
            if again and question_waits:
                continue  # The question would wait until the node has no other request, and then for the text.
            node.reserved = again
            if not (again and node.requests) and node.take_slot(urgent=item.job.urgent):
                self.queue.leave_quarantine(item)
                self._send(node, [item], now)

    def _pull(self, now: float) -> None:
        """Let nodes pull requests from the queue as long as one has room."""
        check_units, seconds = 0.0, math.inf
        if (item := self.queue.head()) is not None:
            seconds = scheduling.seconds_left(self.nodes, self.queue.units, item, now)
            # Checks are work too. Without them the requests before the last one would be too small, and the few texts
            # that are left would need requests of their own.
            check_units = self.check.plan_end(seconds, item.units, now)
        while (item := self.queue.head()) is not None:
            pulled = scheduling.next_pull(self.nodes, self.queue.units + check_units, item, now)
            if pulled is None:
                break
            node, units = pulled
            if not node.take_slot(urgent=item.job.urgent):
                continue
            # The last requests also carry checks, so they take fewer texts, and the nodes still end together.
            requests = node.rate_model.limit - len(node.requests) if seconds <= LAST_ROUND_S else 1
            last = units * requests >= self.queue.units
            if last:
                units -= self.check.check_cost(node, now)
            self._send(node, self.queue.take(units, self.check.room(node)), now, last=last)
            check_units = max(check_units - node.requests[-1].carried.units, 0.0)

    def _hedge(self, now: float) -> None:
        """Let nodes with a free slot repeat requests that are expected late elsewhere."""
        while found := scheduling.to_hedge(self.nodes, now):
            node, request = found
            # The limit of this node may be lower than that of the node which has the request.
            items = request.open_items[: self.check.room(node)]
            if node.take_slot(urgent=any(item.job.urgent for item in items)):
                node.hedged += 1
                self._send(node, items, now)

    def _send(self, node: Node, items: list[Item], now: float, *, last: bool = False) -> None:
        left = 0.0 if self.queue.head() is None else self.queue.units
        carried = self.check.to_carry(node, items, now, left=left, last=last or left <= 0)
        self._call(node, items, carried, now)

    def _call(self, node: Node, items: list[Item], carried: Carried, now: float) -> None:
        # A request without texts of its own is too short to show how many requests the node serves at once.
        note = node.rate_model.sent(
            now, sum(item.units for item in items) + carried.units, judged=bool(items)
        )
        payloads = [*(item.sent for item in items), *carried.payloads]
        limit = node.time_limit(node.rate_model.due(now, note))
        loop = asyncio.get_running_loop()
        call = self.kind.send(
            node.client,
            payloads,
            timeout=limit,
            progress=lambda units: node.rate_model.heard(loop.time(), note, units),
        )
        task, number = loop.create_task(call), next(self.numbers)
        request = Request(items, note, task, number, carried, answers_before=node.answered)
        for item in items:
            item.copies += 1
        node.requests.append(request)
        request.task.add_done_callback(lambda _: self.ended(node, request))
