"""Flow runs whose process was killed say so in Prefect too: nobody else is left to end them there.

A flow run is signed with its host and process at its beginning, so that the next one of the same flow on that host
can tell that it is gone, however early it was killed. Those of other hosts are known by the table's log, once it
calls them interrupted. With a flow run its task runs end.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterId,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun, State, StateType, TaskRun
from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort
from prefect.context import FlowRunContext
from prefect.states import Completed, Crashed

from prefect_ollama.blocks.documents import RUN_DONE, RUN_INTERRUPTED, Run
from prefect_ollama.blocks.lance import alive
from prefect_ollama.tasks.prefect_state.logging import run_logger

# Labels of a flow run, by which its process is known.
HOST, PROCESS = "prefect-ollama.host", "prefect-ollama.process"

# Latest interrupted runs that are looked up.
LOOK_BACK: Final = 20

# Runs that the server gives at a time, at most.
PAGE: Final = 200

# A flow run is signed in its first second; one that is this old and is not was killed before.
UNSIGNED: Final = timedelta(minutes=1)

MESSAGE: Final = "Its process ended without a word; a later run took its place."
UNTOLD: Final = "The flow went on after it; Prefect's server was not told in time how it ended."

_GOING: Final = [kind for kind in StateType if kind not in TERMINAL_STATES]
_LIVE: Final = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]


def sign_flow_run(unsigned: timedelta = UNSIGNED) -> None:
    """Sign the current flow run with its process, and set earlier ones of its flow whose process is gone to Crashed.

    Args:
        unsigned: How old one without a signature must be to count as killed.

    Raises:
        httpx.HTTPError: The server does not answer.
    """
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    this, here = context.flow_run, socket.gethostname()
    with get_client(sync_client=True) as client:
        client.update_flow_run_labels(this.id, {HOST: here, PROCESS: os.getpid()})
        others = client.read_flow_runs(
            flow_filter=FlowFilter(id=FlowFilterId(any_=[this.flow_id])),
            flow_run_filter=_flow_runs(_LIVE),
            sort=FlowRunSort.ID_DESC,
            limit=PAGE,
        )
        for other in others:
            if other.id != this.id and _is_gone(other, this, here, unsigned):
                _end(client, other)


def settle_interrupted(runs: Sequence[Run]) -> None:
    """Set what interrupted runs left in Prefect to Crashed, and end the task runs of the last run that ended.

    Args:
        runs: A table's log.
    """
    interrupted = [run for run in runs if run.status == RUN_INTERRUPTED][-LOOK_BACK:]
    # What ended just now may only not be written down yet.
    long_ago = datetime.now(UTC) - UNSIGNED
    ended = [
        run for run in runs if run.status != RUN_INTERRUPTED and run.ended_at and run.ended_at < long_ago
    ][-1:]
    try:
        with get_client(sync_client=True) as client:
            if ids := _ids(interrupted):
                for flow_run in client.read_flow_runs(
                    flow_run_filter=_flow_runs(_GOING, ids), sort=FlowRunSort.ID_DESC, limit=PAGE
                ):
                    _end(client, flow_run)
            for run, flow_run_id in zip(ended, _ids(ended), strict=False):
                over = _flow_runs([*TERMINAL_STATES], [flow_run_id])
                _end_task_runs(client, over, Completed(message=UNTOLD) if run.status == RUN_DONE else None)
    except httpx.HTTPError as error:
        run_logger().warning("Flow runs that had been killed still seem to run in Prefect: %s", error)


def _flow_runs(states: list[StateType], ids: list[UUID] | None = None) -> FlowRunFilter:
    return FlowRunFilter(
        id=None if ids is None else FlowRunFilterId(any_=ids),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states)),
    )


def _ids(runs: Iterable[Run]) -> list[UUID]:
    """Ids of their flow runs, as far as they were begun by one."""
    found = []
    for run in runs:
        try:
            found.append(UUID(run.run_id[:36]))
        except ValueError:
            continue
    return found


def _is_gone(other: FlowRun, this: FlowRun, here: str, unsigned: timedelta) -> bool:
    began = other.start_time or other.created or datetime.now(UTC)
    if HOST in other.labels:
        return not alive(str(other.labels[HOST]), int(other.labels[PROCESS]), here, began)
    # Whoever else has a flow of this name has other parameters; a deployment's is ended by what started it.
    ours = other.deployment_id is None and other.parameters.keys() == this.parameters.keys()
    return ours and datetime.now(UTC) - began >= unsigned


def _end(client: SyncPrefectClient, flow_run: FlowRun) -> None:
    _end_task_runs(client, FlowRunFilter(id=FlowRunFilterId(any_=[flow_run.id])))
    client.set_flow_run_state(flow_run.id, Crashed(message=MESSAGE), force=True)
    run_logger().info("Flow run %r had been killed; it is marked as crashed", flow_run.name)


def _end_task_runs(client: SyncPrefectClient, of: FlowRunFilter, state: State[None] | None = None) -> None:
    for task_run in _unended(client, of):
        client.set_task_run_state(task_run.id, state or Crashed(message=MESSAGE), force=True)


def _unended(client: SyncPrefectClient, of: FlowRunFilter) -> list[TaskRun]:
    found: list[TaskRun] = []
    while page := client.read_task_runs(
        flow_run_filter=of,
        task_run_filter=TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=_GOING))),
        sort=TaskRunSort.ID_DESC,
        limit=PAGE,
        offset=len(found),
    ):
        found += page
    return found
