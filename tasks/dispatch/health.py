"""The health of the nodes: failing ones rest, are asked to prove themselves, and work again.

Only an answer to real work counts as a sign of life of the cluster: a node that passes every probe and fails
every text does not keep a run from ending.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from prefect_ollama.blocks.errors import NodeError, NodeFailed, NodeRefused, NodeUnreachable
from prefect_ollama.tasks.dispatch import verdict
from prefect_ollama.tasks.dispatch.lane import Lane
from prefect_ollama.tasks.dispatch.request_kind import RequestKind

PROBE_TIMEOUT = 5.0
"""Seconds of a first probe; each further one in a row may take twice as long, as a model may have to load."""


class Health:
    """Trips breakers and closes them.

    Args:
        kind: What is asked of the nodes. Those that have not proven themselves start open.
        give_up_after: Seconds without a working node after which the work fails.
        lanes: All nodes.
        recovered: Called when a node works again.
    """

    def __init__(
        self,
        kind: RequestKind,
        give_up_after: float,
        lanes: Sequence[Lane],
        recovered: Callable[[Lane], None],
    ) -> None:
        self._kind = kind
        self._give_up_after = give_up_after
        self._lanes = lanes
        self._recovered = recovered
        self._loop = asyncio.get_running_loop()
        self._wanted = asyncio.Event()
        self._none_since: float | None = None
        for lane in lanes:
            if kind.proven_seconds(lane.name) is None:
                reason = kind.left_out(lane.name)
                lane.refusal = reason if isinstance(reason, NodeRefused) else None
                self.trip(lane, reason or NodeUnreachable("has not proven itself yet.", node=lane.name))

    def want(self, wanted: bool) -> None:
        """Say whether there is work. While there is none nobody is probed, and no patience runs out."""
        if not wanted:
            self._wanted.clear()
        elif not self._wanted.is_set():
            self._wanted.set()
            self._none_since = None if self._any() else self._loop.time()

    def progress(self, lane: Lane) -> None:
        """A node embedded real texts."""
        lane.breaker.progress()
        # It may have been under way when its node, the last that worked, failed on another request.
        self._none_since = None if self._any() else self._loop.time()

    def trip(self, lane: Lane, error: NodeError) -> None:
        """Let a node rest, and probe it after."""
        if not lane.works:
            lane.breaker.note(error)
            return
        wait = lane.breaker.trip(error, self._loop.time())
        lane.probe = self._loop.create_task(self._probe(lane, wait))
        if self._none_since is None and not self._any():
            self._none_since = self._loop.time()

    def gives_up_at(self) -> float | None:
        """When to end the work for want of nodes; None while one works."""
        if self._none_since is None or self._any():
            return None
        return self._none_since + self._give_up_after

    def causes(self) -> str:
        """The last error of each node that has one, a line each."""
        return "\n".join(f"  {lane.breaker.last}" for lane in self._lanes if lane.breaker.last)

    def _any(self) -> bool:
        return any(lane.works for lane in self._lanes)

    async def _probe(self, lane: Lane, wait: float) -> None:
        timeout = PROBE_TIMEOUT
        while True:
            await asyncio.sleep(wait)
            await self._wanted.wait()
            lane.breaker.half_open()
            limit = min(timeout + lane.patience(self._loop.time()), lane.client.node.load_timeout)
            try:
                seconds = await self._kind.probe(lane.client, timeout=limit, refused=lane.refusal)
                break
            except Exception as error:
                if isinstance(error, NodeRefused) and error.model is not None:
                    lane.refusal = error
                lane.suspects.clear()  # the node was not well when it failed on them
                wait = lane.breaker.trip(as_node_error(error, lane), self._loop.time())
            timeout *= 2
        lane.probe = lane.refusal = None
        lane.warm = True
        passed_over = any(request.overdue and not request.given_up for request in lane.requests)
        pause = lane.breaker.close(self._loop.time(), passed_over=passed_over)
        if not (pause and lane.answered):
            slots = lane.neighbours.slots(lane.client.node.url)
            lane.pace.start_over(self._kind.first_units, seconds, slots)
        suspects, lane.suspects = lane.suspects, []
        for item, cause in suspects:
            verdict.accuse(item, lane, cause)
        self._recovered(lane)


def as_node_error(error: BaseException, lane: Lane) -> NodeError:
    """What a call raised, as an error of its node: nothing that goes wrong there may stop the others."""
    if isinstance(error, NodeError):
        return error
    return NodeFailed(f"could not be asked ({error!r}).", node=lane.name)
