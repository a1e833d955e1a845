"""What requests bring: confirmed results go to their jobs, and items without one go to other nodes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from prefect_ollama.blocks.errors import (
    AnswerRejected,
    InputRejected,
    NodeBusy,
    NodeError,
    NodeFailed,
    NodeRefused,
)
from prefect_ollama.tasks.dispatch import _poison_texts as poison_texts
from prefect_ollama.tasks.dispatch._health import Health, as_node_error
from prefect_ollama.tasks.dispatch._job import Item, Job
from prefect_ollama.tasks.dispatch._late_requests import LateRequests
from prefect_ollama.tasks.dispatch._node import OVERDUE_EXTRA_S, OVERDUE_FACTOR, Node
from prefect_ollama.tasks.dispatch._queue import Queue
from prefect_ollama.tasks.dispatch._request import Request
from prefect_ollama.tasks.dispatch._request_kind import AnswerCheck, Findings, Reply, RequestKind


@dataclass(frozen=True, eq=False)
class Answers:
    """Takes the answers and errors of all nodes.

    Attributes:
        check: Says which answers are confirmed.
        close: Closes those of these jobs that have no item left.
    """

    kind: RequestKind
    nodes: Sequence[Node]
    queue: Queue
    late: LateRequests
    health: Health
    check: AnswerCheck
    close: Callable[[Iterable[Job[Any]]], None]

    def take(self, node: Node, request: Request, now: float) -> None:
        """Take the answer or the error of a request that has ended."""
        node.requests.remove(request)
        probing_slots = node.rate_model.waves.measuring
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
            self.apply(self.check.failed(request, cancelled=cancelled))
            if cancelled:
                # An answer from elsewhere may have been discarded since.
                self.queue.put(request.open_items, front=True)
            elif error is not None:
                self._failed(node, request, as_node_error(error, node))
        else:
            self._arrived(node, request, request.task.result(), now)
        if request.items:  # a request that only checks a node is a few words, and takes no slot
            node.release_slot(found=probing_slots and not node.rate_model.waves.measuring)

    def _arrived(self, node: Node, request: Request, reply: Reply, now: float) -> None:
        # The node has counted the tokens; the estimate was only needed to send.
        request.note.units = self.kind.actual_units(reply, request.note.units)
        busy = node.rate_model.finished(now, request.note)
        node.busy += busy
        node.answered += 1
        node.warm = True
        node.latencies.append(now - request.note.at)
        self.queue.request_done()
        request.place = node.answered
        node.wasted += len(request.items)
        for item in request.items:
            if not item.answered:
                item.count_for(node)
            item.held += 1
        # The cost of its texts includes its checks.
        request.share = busy / max(len(request.items), 1), reply.tokens // max(len(request.items), 1)
        self.apply(self.check.arrived(node, request, reply))
        self.give_up_useless(now)

    def apply(self, found: Findings) -> None:
        """Give confirmed answers to their jobs, and send the items of discarded answers to other nodes."""
        for node, request, reply in found.confirmed:
            self._settle(node, request, reply)
        for node, items in found.lost:
            self._throw_away(node, items)
        for node, error in found.failed_checks:
            self._discard_unverified(node, error)

    def _settle(self, node: Node, request: Request, reply: Reply) -> None:
        self.health.progress(node)
        jobs: set[Job[Any]] = set()
        for item, result in zip(request.items, self.kind.results(reply), strict=False):
            item.held -= 1
            if item.done:
                continue
            if item.counted is not node:  # a hedge was confirmed before the answer that came first
                item.count_for(node)
            item.job.settle(item, result, node.name, request.share)
            jobs.add(item.job)
            self._distrust_rejecting_nodes(item, node)
        for job in jobs:
            if job.revalue():
                self._revalue(job)
        self.close(jobs)

    def _revalue(self, job: Job[Any]) -> None:
        """Follow the changed estimates of a job, in the queue and in flight."""
        self.queue.recount()
        for node in self.nodes:
            for request in node.requests:
                if any(item.job is job for item in request.items):
                    units = sum(item.units for item in request.items)
                    request.note.units = max(units, request.note.heard)

    def _discard_unverified(self, node: Node, error: NodeError) -> None:
        """Discard the unconfirmed answers of a node, and take back its requests in flight."""
        self._throw_away(node, self.check.discard_unverified(node))
        for request in node.requests:
            if not request.overdue:
                self.late.take_back(request, front=True)
            request.give_up()
        self.health.trip(node, error)

    def _throw_away(self, node: Node, items: list[Item]) -> None:
        for item in items:
            item.held -= 1
        # A hedge may have answered some of the items, or hold another answer for them.
        open_items = [item for item in items if not item.answered]
        for item in open_items:
            item.count_for(None)
        self.queue.put(open_items, front=True)

    def recovered(self, node: Node, answers: int) -> None:
        """Take the answers of a node that works again: it had given so many of them before it passed its probe."""
        for request in node.requests:
            if request.overdue:
                request.give_up()
        for confirmed in self.check.verified(node, answers):
            self._settle(*confirmed)

    def _distrust_rejecting_nodes(self, item: Item, node: Node) -> None:
        """Open the breaker of every node that rejected a text which this node has embedded."""
        for other in self.nodes:
            said = item.failures.get(other.name)
            if said and other is not node and other.works and isinstance(said.error, InputRejected):
                error = NodeFailed(f"rejects texts that others embed: {said.error.cause}", node=other.name)
                self.health.trip(other, error)

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
            self.queue.request_failed(request.items)
        self.queue.put(request.items, front=True, alone=alone)
        if not (certain or (isinstance(error, InputRejected) and not alone)):
            self.health.trip(node, error)

    def give_up_useless(self, now: float) -> None:
        """Cancel requests of which every item is done elsewhere."""
        for node in self.nodes:
            for request in node.requests:
                useless = request.items and all(item.answered for item in request.items)
                if useless and not request.given_up and not self.check.needs(request):
                    if node.works and node.silent_for_long(request, now, OVERDUE_FACTOR, OVERDUE_EXTRA_S):
                        self.health.trip_silent(node)
                    request.give_up()
