"""The engine: one event loop that owns all nodes and one queue, from which the nodes pull.

The engine does not know what the items hold: see `_request_kind`.

Guarantees: every item ends with exactly one result or one error. A failing node gets no real work until it has passed a
probe. An item at a slow, silent or dead node is also given to an idle node, and the first answer wins.
"""

import asyncio
import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from prefect_ollama.blocks.nodes import ClusterSpec, LoopLag
from prefect_ollama.tasks.dispatch import _poison_texts as poison_texts
from prefect_ollama.tasks.dispatch._answers import Answers
from prefect_ollama.tasks.dispatch._health import Health
from prefect_ollama.tasks.dispatch._job import Job
from prefect_ollama.tasks.dispatch._late_requests import LateRequests
from prefect_ollama.tasks.dispatch._node import Node
from prefect_ollama.tasks.dispatch._queue import Queue
from prefect_ollama.tasks.dispatch._rate_model import RateModel
from prefect_ollama.tasks.dispatch._request import Request
from prefect_ollama.tasks.dispatch._request_kind import Reply, RequestKind
from prefect_ollama.tasks.dispatch._sender import Sender
from prefect_ollama.tasks.dispatch._shared_limits import SharedLimits
from prefect_ollama.tasks.dispatch._waiting_questions import POLL_S, ForeignQuestions
from prefect_ollama.tasks.dispatch.stats import NodeStats


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
        self._shared_limits = shared_limits
        self._lag = LoopLag()
        self._nodes: list[Node] = []
        for node in cluster.nodes:
            seconds, slots = kind.proven_seconds(node.name), shared_limits.slots(node.server)
            rate_model = RateModel(
                kind.first_units,
                1.0 if seconds is None else seconds,
                node.max_in_flight,
                slots,
                proven=kind.proves_rates,
            )
            warm = seconds is not None and not kind.loads
            self._nodes.append(Node(kind.connect(node), rate_model, shared_limits, self._lag, warm=warm))
        self._health = Health(kind, cluster.give_up_after, self._nodes, self._recovered)
        self._late = LateRequests(self._nodes, self._queue, self._health)
        self._questions = ForeignQuestions(
            self._nodes, self._queue, self._late, shared_limits, self._schedule_pump
        )
        check = kind.answer_check(self._nodes, self._loop.time())
        self._answers = Answers(kind, self._nodes, self._queue, self._late, self._health, check, self._close)
        self._sender = Sender(kind, self._nodes, self._queue, check, self._ended)

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
        self._answers.give_up_useless(self._loop.time())
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
        # Late texts must be back in the queue before nodes pull.
        self._late.find(now)
        self._questions.hold_back(now)
        self._close(poison_texts.refuse_hopeless(self._queue.quarantine, self._nodes, self._kind, now))
        self._answers.apply(self._sender.send(now))
        self._shared_limits.ask_only({node.client.node.server for node in self._nodes if node.refused})
        self._set_timer(now)

    def _ended(self, node: Node, request: Request) -> None:
        self._guard(partial(self._answers.take, node, request, self._loop.time()))
        self._schedule_pump()

    def _recovered(self, node: Node, answers: int) -> None:
        self._answers.recovered(node, answers)
        self._schedule_pump()

    def _close(self, jobs: Iterable[Job[Any]]) -> None:
        for job in jobs:
            if job.left == 0:
                self._jobs.discard(job)
                job.close()
        self._health.want(bool(self._jobs))

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
        self._answers.give_up_useless(self._loop.time())
