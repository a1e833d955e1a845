"""Show a run in Prefect while it runs: progress, nodes, log lines, and events when a node goes down or comes back.

Guarantees: a run of any size makes some five calls of Prefect's API in ten seconds. A thread of its own makes these
calls, so they do not slow the run. A server that is slow or down fails nothing, and gets the latest figures when it is
back. The thread ends with the run.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

import distributed
import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.runtime import flow_run

from prefect_ollama.blocks.errors import NodeRefused, NodeUnreachable
from prefect_ollama.blocks.nodes import NodeStatus, VerifiedCluster
from prefect_ollama.blocks.periodic import PeriodicThread
from prefect_ollama.blocks.printable import escape_markdown
from prefect_ollama.tasks.monitoring.events import emit, settle_nodes
from prefect_ollama.tasks.monitoring.model_memory import ModelMemory
from prefect_ollama.tasks.monitoring.node_stats import LiveNodes
from prefect_ollama.tasks.monitoring.outages import Outages
from prefect_ollama.tasks.monitoring.progress import Done, Progress
from prefect_ollama.tasks.monitoring.snapshot import Snapshot, observer
from prefect_ollama.tasks.monitoring.stats_topic import subscribed
from prefect_ollama.tasks.monitoring.timeline import Timeline
from prefect_ollama.tasks.monitoring.wording import log_line, nodes_section, progress_text
from prefect_ollama.tasks.planning import Plan
from prefect_ollama.tasks.prefect_state import quick_client, run_logger
from prefect_ollama.tasks.reporting import section_markdown

# Seconds between two looks at the nodes, two updates on the server, and two log lines.
UPDATE_INTERVAL_S = 0.5
PUBLISH_INTERVAL_S = 4.0
LOG_INTERVAL_S = 30.0

# Seconds that the server has to answer.
SERVER_TIMEOUT_S = 5.0

# How often the last update is tried on a busy server, and the seconds between. Earlier updates are not repeated,
# because the next one comes soon.
LAST_TRIES, LAST_TRY_WAIT_S = 3, 0.5

# Longest pause in seconds before a server that did not answer gets another update.
MAX_PAUSE_S = 60.0

# Keys of the artifacts.
PROGRESS, NODES = "ingest-progress", "ingest-nodes"


@contextlib.contextmanager
def watch_run(
    plan: Plan,
    done: Callable[[], Done],
    verified: VerifiedCluster,
    client: distributed.Client | None,
    see: Callable[[Snapshot], None],
) -> Iterator[RunWatch]:
    """Show a run until the end of the context.

    Args:
        done: Returns the files that are done, and their counters; called from another thread.
        client: The Dask client of the flow, over which workers send statistics of the nodes; None receives none.
        see: Called with a snapshot twice a second, from another thread.
    """
    with contextlib.ExitStack() as stack:
        memory = stack.enter_context(ModelMemory(verified.spec))
        watch = RunWatch(plan, done, verified, memory, see)
        stack.callback(watch.thread.start().end, 3 * SERVER_TIMEOUT_S)
        if client is not None:
            watch.topic = stack.enter_context(subscribed(client, watch.live.take))
        yield watch


class RunWatch:
    """Watches one run in a thread.

    Attributes:
        live: Receives the statistics of the workers.
        thread: The thread.
        topic: The topic of the statistics; None if they are not received.
    """

    def __init__(
        self,
        plan: Plan,
        done: Callable[[], Done],
        verified: VerifiedCluster,
        memory: ModelMemory,
        see: Callable[[Snapshot], None],
    ) -> None:
        self.topic: str | None = None
        self.live = LiveNodes([node.name for node in verified.spec.nodes])
        self._source, self._proven, self._memory = plan.source, verified, memory
        size = sum(file.size for file in plan.to_read)
        self._progress = Progress(len(plan.to_read), size, done)
        # A node that was only late joins when it is ready. If it does not, it counts as down after a while.
        self._left_out = {
            name: str(error)
            for name, error in verified.left_out.items()
            if not (isinstance(error, NodeUnreachable) and error.silent)
        }
        self._outages = Outages(self._left_out)
        self._began = time.monotonic()
        self._seen_by = [see, *filter(None, [observer()])]
        self._artifacts: _Artifacts  # of the thread: one client must not be used by two
        self._publish_at, self._log_at = 0.0, self._began + LOG_INTERVAL_S
        self.thread = PeriodicThread(
            self._look_and_show, UPDATE_INTERVAL_S, name="watch", within=self._connected, last=True
        )

    @property
    def timeline(self) -> Timeline:
        """The work of each node over time."""
        return self.live.timeline

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        # Not the flow's client, which waits long and tries again: a retry would come later than the next update.
        with quick_client(SERVER_TIMEOUT_S) as client:
            self._artifacts = _Artifacts(client)
            # Created here and not in `__init__`, because this asks the server, which must not delay the run.
            settle_nodes(list(self._proven.verifications), self._left_out, client=client)
            yield

    def _look_and_show(self) -> None:
        ended, now = self.thread.ending, time.monotonic()
        run = self._look(now, ended=ended)
        for see in self._seen_by:
            with contextlib.suppress(Exception):  # a display must not fail the run
                see(run)
        if ended or now >= self._log_at:
            run_logger().info("%s", log_line(run))
            self._log_at = now + LOG_INTERVAL_S
        if ended or now >= self._publish_at:
            self._artifacts.publish(run, self._memory.nodes)
            self._publish_at = time.monotonic() + PUBLISH_INTERVAL_S

    def _look(self, now: float, *, ended: bool) -> Snapshot:
        nodes = tuple(
            # Until the first message about it the reason at the start holds.
            replace(node, refused=True)
            if node.activity == "unknown" and isinstance(self._proven.left_out.get(node.name), NodeRefused)
            else node
            for node in self.live.nodes()
        )
        if ended:  # no task waits for requests that were still in flight when it ended
            nodes = tuple(replace(node, in_flight=0) for node in nodes)
        for node in nodes:
            if node.activity != "unknown":
                fails = node.activity == "fails"
                change = self._outages.see(node.name, fails=fails, now=now, silent=node.silent, ended=ended)
                if change == "down":
                    run_logger().warning("%s: %s", "Left out" if node.refused else "Down", node.last_error)
                    emit("node.down", node.name, reason=node.last_error)
                elif change == "back":
                    run_logger().info("Node %r is back", node.name)
                    emit("node.back", node.name)
        progress_state = self._progress.look(now, sum(node.texts for node in nodes))
        down = frozenset(self._outages.down)
        return Snapshot(self._source, now - self._began, progress_state, nodes, down, ended=ended)


class _Artifacts:
    """The artifacts of a run. Each artifact is created once and then updated."""

    def __init__(self, client: SyncPrefectClient) -> None:
        self._client = client
        self._made: dict[str, UUID] = {}
        self._pause = 0.0
        self._again_at = 0.0

    def publish(self, run: Snapshot, memory: Mapping[str, NodeStatus]) -> None:
        """Update the artifacts, unless the server failed to answer a moment ago."""
        now = time.monotonic()
        if now < self._again_at and not run.ended:
            return
        try:
            self._publish(run, memory)
        except Exception as error:  # monitoring must not fail the run
            # `server_watch` logs that the server is gone.
            if not self._pause and not isinstance(error, httpx.TransportError):
                run_logger().warning("Prefect's server refuses the artifacts of the run: %s", error)
            self._pause = min(2 * self._pause or PUBLISH_INTERVAL_S, MAX_PAUSE_S)
            self._again_at = now + self._pause
        else:
            self._pause = 0.0

    def _publish(self, run: Snapshot, memory: Mapping[str, NodeStatus]) -> None:
        for left in reversed(range(LAST_TRIES if run.ended else 1)):
            try:
                self._create_or_update(
                    PROGRESS, "progress", round(100 * run.progress_state.part, 1), progress_text(run)
                )
                page = section_markdown(nodes_section(run, memory))
                self._create_or_update(NODES, "markdown", page, f"Nodes of {escape_markdown(run.source)}")
                return
            except httpx.HTTPStatusError:
                if not left:
                    raise
                time.sleep(LAST_TRY_WAIT_S)

    def _create_or_update(self, key: str, kind: str, data: Any, description: str) -> None:
        if key in self._made:
            self._client.update_artifact(self._made[key], ArtifactUpdate(data=data, description=description))
            return
        made = self._client.create_artifact(
            ArtifactCreate(key=key, type=kind, data=data, description=description, flow_run_id=flow_run.id)
        )
        self._made[key] = made.id
