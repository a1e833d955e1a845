"""Late requests: their items go to other nodes, and a node that stays silent has to answer a probe."""

from collections.abc import Sequence

from prefect_ollama.tasks.dispatch._health import Health
from prefect_ollama.tasks.dispatch._node import SILENT_EXTRA_S, SILENT_FACTOR, Node
from prefect_ollama.tasks.dispatch._queue import Queue
from prefect_ollama.tasks.dispatch._request import Request


class LateRequests:
    """Takes items back from requests whose answer is late or not expected any more."""

    def __init__(self, nodes: Sequence[Node], queue: Queue, health: Health) -> None:
        self._nodes = nodes
        self._queue = queue
        self._health = health

    def find(self, now: float) -> None:
        """Put the items of late requests at the end of the queue, if another node works.

        The late node keeps the request that it has begun, because it may be slow and not dead. The node gets no other
        request until it answers. Its answer counts if no other node was faster. A node that stays silent has to answer
        a probe, which a living node answers after the request.
        """
        for node in self._nodes:
            # Requests of other runs may explain the delay, so count them before a request is called late.
            if any(now > node.overdue_at(request) for request in node.requests):
                node.look_around()
            late = [request for request in node.requests if now > node.overdue_at(request)]
            others = any(other.works for other in self._nodes if other is not node)
            if late and others:
                self._take_back_waiting(node)
            for request in late:
                self.take_back(request, front=False)
            if others and node.works:
                self._find_silent(node, now)

    def moments(self, now: float) -> list[float]:
        """Return when each request in flight becomes late, or its node silent."""
        return [
            node.silent_at(request, now) if request.overdue and node.works else node.overdue_at(request)
            for node in self._nodes
            for request in node.requests
        ]

    def take_back(self, request: Request, *, front: bool) -> None:
        """Give the items of a request to other nodes, because its answer is not expected any more."""
        # Not cancelled here: the node may be slow and not dead, and then its answer still counts.
        request.overdue = True
        for item in request.items:
            item.copies -= 1
        self._queue.put(request.items, front=front or any(item.job.urgent for item in request.items))

    def take_back_bulk(self, node: Node, *, front: bool) -> None:
        """Take back the bulk work that waits at a node for its turn, so that a question need not wait for it."""
        self._take_back_waiting(node, front=front, urgent=False)

    def _take_back_waiting(self, node: Node, *, front: bool = False, urgent: bool = True) -> None:
        for request in node.requests:
            if request.note.begun is not None or request.overdue:
                continue
            if urgent or (request.items and not any(item.job.urgent for item in request.items)):
                self.take_back(request, front=front)
                request.give_up()

    def _find_silent(self, node: Node, now: float) -> None:
        """Probe a node that has been silent for long; cancel a late request if the node has answered others since."""
        for request in list(node.requests):
            if request.overdue and now > node.silent_at(request, now):
                if node.silent_for_long(request, now, SILENT_FACTOR, SILENT_EXTRA_S):
                    self._health.trip_silent(node)
                    self._take_back_waiting(node)
                    return
                request.give_up()
