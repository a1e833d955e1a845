"""Runs whose process was killed say so in Prefect too: nobody else is left to end them there.

The table's log knows them by the ids of their flow runs, because a killed process cannot report itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import TERMINAL_STATES, StateType, TaskRun
from prefect.client.schemas.sorting import TaskRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

from prefect_ollama.blocks.lance.runs import INTERRUPTED, Run
from prefect_ollama.tasks.log import run_logger

LOOK_BACK = 20
"""Latest interrupted runs that are looked up, at one request each."""

PAGE = 200
"""Task runs that the server gives at a time, at most."""

MESSAGE = "Its process ended without a word; a later run over the same table took its place."


def settle_interrupted(runs: Iterable[Run]) -> None:
    """Set the flow runs of interrupted runs, and their task runs, to Crashed where they still seem to run."""
    interrupted = [run for run in runs if run.status == INTERRUPTED][-LOOK_BACK:]
    if not interrupted:
        return
    try:
        with get_client(sync_client=True) as client:
            for run in interrupted:
                _settle(client, run)
    except httpx.HTTPError as error:
        run_logger().warning("Flow runs that had been killed still seem to run in Prefect: %s", error)


def _settle(client: SyncPrefectClient, run: Run) -> None:
    try:
        flow_run_id = UUID(run.run_id[:36])
        flow_run = client.read_flow_run(flow_run_id)
    except (ValueError, ObjectNotFound):
        return  # begun under another name or another server
    if flow_run.state is None or flow_run.state.is_final():
        return
    for task_run in _unended(client, flow_run_id):
        client.set_task_run_state(task_run.id, Crashed(message=MESSAGE), force=True)
    client.set_flow_run_state(flow_run_id, Crashed(message=MESSAGE), force=True)
    run_logger().info("Flow run %r had been killed; it is marked as crashed", flow_run.name)


def _unended(client: SyncPrefectClient, flow_run_id: UUID) -> list[TaskRun]:
    going = [kind for kind in StateType if kind not in TERMINAL_STATES]
    found: list[TaskRun] = []
    while page := client.read_task_runs(
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id])),
        task_run_filter=TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=going))),
        sort=TaskRunSort.ID_DESC,
        limit=PAGE,
        offset=len(found),
    ):
        found += page
    return found
