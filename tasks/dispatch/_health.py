"""The health of the nodes: a failing node rests, is probed, and works again after a probe that passed.

Only answers to real work count as progress of the cluster. A node that passes every probe and fails every text does not
keep a run alive.
"""

import asyncio
from collections.abc import Callable, Sequence

from prefect_ollama.blocks.errors import NodeError, NodeFailed, NodeRefused, NodeUnreachable
from prefect_ollama.tasks.dispatch import _poison_texts as poison_texts
from prefect_ollama.tasks.dispatch._node import Node
from prefect_ollama.tasks.dispatch._request_kind import RequestKind

# Seconds of a first probe; each further one in a row may take twice as long, as a model may have to load.
PROBE_TIMEOUT_S = 5.0


class Health:
    """Opens and closes the breakers of all nodes. Those of nodes that are not verified start open.

    Args:
        give_up_after: Seconds without a working node after which the work fails.
        recovered: Called when a node works again, with the number of answers that it had given before its probe.
    """

    def __init__(
        self,
        kind: RequestKind,
        give_up_after: float,
        nodes: Sequence[Node],
        recovered: Callable[[Node, int], None],
    ) -> None:
        self._kind = kind
        self._give_up_after = give_up_after
        self._nodes = nodes
        self._recovered = recovered
        self._loop = asyncio.get_running_loop()
        self._wanted = asyncio.Event()
        self._none_since: float | None = None
        for node in nodes:
            if kind.proven_seconds(node.name) is None:
                reason = kind.left_out(node.name)
                node.refusal = reason if isinstance(reason, NodeRefused) else None
                self.trip(node, reason or NodeUnreachable("is not verified yet.", node=node.name))

    def want(self, wanted: bool) -> None:
        """Say whether there is work. Without work no node is probed, and the time to give up does not run."""
        if not wanted:
            self._wanted.clear()
        elif not self._wanted.is_set():
            self._wanted.set()
            self._none_since = None if self._any() else self._loop.time()

    def progress(self, node: Node) -> None:
        """Note that a node has answered real work."""
        node.breaker.progress()
        # The answer may have been on its way when its node, the last working one, failed on another request.
        self._none_since = None if self._any() else self._loop.time()

    def trip(self, node: Node, error: NodeError) -> None:
        """Open the breaker of a node, and probe it after a wait."""
        if not node.works:  # its probe is under way already; requests sent before may bring further errors
            node.breaker.note(error)
            return
        wait = node.breaker.trip(error, self._loop.time())
        node.probe = self._loop.create_task(self._probe(node, wait))
        if self._none_since is None and not self._any():
            self._none_since = self._loop.time()

    def trip_silent(self, node: Node) -> None:
        """Open the breaker of a node that was silent for too long."""
        self.trip(node, NodeUnreachable("did not answer in the expected time.", node=node.name, silent=True))

    def gives_up_at(self) -> float | None:
        """Return when the work ends because no node works; None while one works."""
        if self._none_since is None or self._any():
            return None
        return self._none_since + self._give_up_after

    def causes(self) -> str:
        """Return the last error of each node that has one, one line for each."""
        return "\n".join(f"  {node.breaker.last}" for node in self._nodes if node.breaker.last)

    def _any(self) -> bool:
        return any(node.works for node in self._nodes)

    async def _probe(self, node: Node, wait: float) -> None:
        timeout = PROBE_TIMEOUT_S
        while True:
            await asyncio.sleep(wait)
            await self._wanted.wait()
            node.breaker.half_open()
            answers = node.answered
            limit = min(timeout + node.busy_seconds(self._loop.time()), node.client.node.load_timeout)
            try:
                seconds = await self._kind.probe(node.client, timeout=limit, refused=node.refusal)
                break
            except Exception as error:
                if isinstance(error, NodeRefused) and error.model is not None:
                    node.refusal = error
                node.suspects.clear()  # the node was not well when it failed on them
                wait = node.breaker.trip(as_node_error(error, node), self._loop.time())
            timeout *= 2
        node.probe = node.refusal = None
        node.warm = True
        passed_over = any(request.overdue and not request.given_up for request in node.requests)
        pause = node.breaker.close(self._loop.time(), passed_over=passed_over)
        # After a pause the learned rate still holds. After a failure the node may be another machine.
        if not (pause and node.answered):
            slots = node.shared_limits.slots(node.client.node.server)
            node.rate_model.start_over(self._kind.first_units, seconds, slots)
        suspects, node.suspects = node.suspects, []
        for item, cause in suspects:
            poison_texts.record_failure(item, node, cause)
        self._recovered(node, answers)


def as_node_error(error: BaseException, node: Node) -> NodeError:
    """Return what a call raised as an error of its node, so that it cannot stop the other nodes."""
    if isinstance(error, NodeError):
        return error
    return NodeFailed(f"could not be asked ({error!r}).", node=node.name)
