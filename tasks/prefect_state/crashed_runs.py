"""Set flow runs whose process was killed to Crashed in Prefect, because no other process does it.

A flow run stores its host and process in its labels at its beginning. So the next run of the same flow on that host can
see that the process is gone, even if it was killed early. A run of another host is recognised once the table's log
marks it as interrupted. The task runs of a crashed flow run end too.
"""

import os
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
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
    TaskRunFilter,
)
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun, State, StateType, TaskRun
from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort
from prefect.context import FlowRunContext
from prefect.states import Completed, Crashed

from prefect_ollama.blocks.documents import RUN_DONE, RUN_INTERRUPTED, Run
from prefect_ollama.blocks.lance import alive
from prefect_ollama.tasks.prefect_state.logging import run_logger

# Labels of a flow run that identify its process.
HOST, PROCESS = "prefect-ollama.host", "prefect-ollama.process"

# How many of the latest interrupted runs are looked up: earlier ones were settled by the runs since.
CHECKED_RUNS: Final = 20

# Runs in one answer: 200 is the most that Prefect's server returns by default.
RUNS_PER_PAGE: Final = 200

# A flow run gets its labels in its first second. A run of this age without labels was killed before it got them.
UNLABELLED_AGE: Final = timedelta(minutes=1)

MESSAGE: Final = "Its process ended and did not report it. A later run found this."
UNREPORTED: Final = "The flow continued after it. Its end did not reach Prefect's server in time."

# States of a run that has not ended.
_GOING: Final = [kind for kind in StateType if kind not in TERMINAL_STATES]
# States in which a run has a process. Scheduled and paused runs have none, and are left alone.
_LIVE: Final = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]


def label_flow_run(unlabelled_age: timedelta = UNLABELLED_AGE) -> None:
    """Store the process of the current flow run in its labels, and set runs of its flow without a process to Crashed.

    Args:
        unlabelled_age: Age at which a run without these labels counts as killed.

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
            limit=RUNS_PER_PAGE,
        )
        for other in others:
            if other.id != this.id and _is_gone(other, this, here, unlabelled_age):
                _crash(client, other)


def settle_interrupted(runs: Sequence[Run]) -> None:
    """Set the flow runs and task runs of interrupted runs to Crashed, and end task runs of the last run that ended.

    Args:
        runs: A table's log.
    """
    interrupted = [run for run in runs if run.status == RUN_INTERRUPTED][-CHECKED_RUNS:]
    # Prefect may not have written the states of a run that ended just now.
    long_ago = datetime.now(UTC) - UNLABELLED_AGE
    ended = [
        run for run in runs if run.status != RUN_INTERRUPTED and run.ended_at and run.ended_at < long_ago
    ][-1:]
    try:
        with get_client(sync_client=True) as client:
            if ids := _ids(interrupted):
                for flow_run in client.read_flow_runs(
                    flow_run_filter=_flow_runs(_GOING, ids), sort=FlowRunSort.ID_DESC, limit=RUNS_PER_PAGE
                ):
                    _crash(client, flow_run)
            for run, flow_run_id in zip(ended, _ids(ended), strict=False):
                over = _flow_runs([*TERMINAL_STATES], [flow_run_id])
                done = run.status == RUN_DONE
                _end_task_runs(client, over, Completed(message=UNREPORTED) if done else None)
    except httpx.HTTPError as error:
        run_logger().warning("Flow runs that had been killed still seem to run in Prefect: %s", error)


def _flow_runs(states: list[StateType], ids: list[UUID] | None = None) -> FlowRunFilter:
    by_id = {} if ids is None else {"id": {"any_": ids}}
    return FlowRunFilter.model_validate({"state": {"type": {"any_": states}}, **by_id})


def _ids(runs: Iterable[Run]) -> list[UUID]:
    """Return the ids of the flow runs of these runs; a run that no flow began has no id."""
    found = []
    for run in runs:
        with suppress(ValueError):
            found.append(UUID(run.run_id[:36]))
    return found


def _is_gone(other: FlowRun, this: FlowRun, here: str, unlabelled_age: timedelta) -> bool:
    began = other.start_time or other.created or datetime.now(UTC)
    if HOST in other.labels:
        return not alive(str(other.labels[HOST]), int(other.labels[PROCESS]), here, began)
    # Another project's flow of the same name has other parameters. A deployment's run is ended by the process that
    # started it.
    ours = other.deployment_id is None and other.parameters.keys() == this.parameters.keys()
    return ours and datetime.now(UTC) - began >= unlabelled_age


def _crash(client: SyncPrefectClient, flow_run: FlowRun) -> None:
    _end_task_runs(client, FlowRunFilter(id=FlowRunFilterId(any_=[flow_run.id])))
    client.set_flow_run_state(flow_run.id, Crashed(message=MESSAGE), force=True)
    run_logger().info("Flow run %r had been killed; it is marked as crashed", flow_run.name)


def _end_task_runs(client: SyncPrefectClient, of: FlowRunFilter, state: State[None] | None = None) -> None:
    for task_run in unfinished_task_runs(client, of):
        client.set_task_run_state(task_run.id, state or Crashed(message=MESSAGE), force=True)


def unfinished_task_runs(client: SyncPrefectClient, of: FlowRunFilter) -> list[TaskRun]:
    """Return the task runs of flow runs that the server shows as unfinished."""
    found: list[TaskRun] = []
    while page := client.read_task_runs(
        flow_run_filter=of,
        task_run_filter=TaskRunFilter.model_validate({"state": {"type": {"any_": _GOING}}}),
        sort=TaskRunSort.ID_DESC,
        limit=RUNS_PER_PAGE,
        offset=len(found),
    ):
        found += page
    return found
