"""What the Prefect server knows of task runs, where the workers that ran them can no longer say it.

Guarantees: a task run that was lost is `Crashed` on the server; a temporary server that ends with this process
has recorded first what the workers told it.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any
from uuid import UUID

from prefect.client.base import ServerType
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    TaskRunFilter,
    TaskRunFilterId,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import State, StateType, TaskRun
from prefect.client.schemas.sorting import TaskRunSort
from prefect.context import FlowRunContext, SyncClientContext
from prefect.exceptions import ObjectNotFound
from prefect.tasks import Task

_FINAL = [StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED]


def report(task_run_id: UUID, task: Task[..., Any], state: State[Any]) -> None:
    """Tell the server of the current context that a task run is in a state, which no worker will.

    A task run that the server has not heard of gets Prefect's plain name, because a name of its own comes from
    the worker.
    """
    # Here, because it is the one thing that no public part of Prefect does.
    from prefect.utilities.engine import emit_task_run_state_change_event

    with SyncClientContext.get_or_create() as context:
        try:
            task_run = context.client.read_task_run(task_run_id)
        except ObjectNotFound:
            task_run = TaskRun(
                id=task_run_id,
                name=f"{task.name}-{str(task_run_id)[:3]}",
                flow_run_id=_flow_run_id(),
                task_key=task.task_key,
                dynamic_key=str(task_run_id),
                tags=list(task.tags),
            )
    # Task runs get their states by events; the later state wins, in whatever order they arrive.
    before, task_run.state = task_run.state, state
    emit_task_run_state_change_event(task_run=task_run, initial_state=before, validated_state=state)


def wait_until_recorded(ended: Collection[UUID], *, seconds: float = 10) -> bool:
    """Wait until a temporary server has recorded how the task runs of the current flow run ended.

    States of task runs travel as events that the server writes a while later, and one that ends with this
    process drops what it has not written: the task run would stay `Running` for ever. A server that stays is not
    waited for.

    Args:
        ended: Ids of task runs that ended last, whose record shows that the earlier ones are there.
        seconds: How long to wait at most.

    Returns:
        Whether all was recorded.

    Raises:
        PrefectHTTPStatusError, httpx.HTTPError: The server does not answer.
    """
    with SyncClientContext.get_or_create() as context:
        if context.client.server_type != ServerType.EPHEMERAL:
            return True
        deadline = time.monotonic() + seconds
        while not _recorded(context.client, ended):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
    return True


def _recorded(client: SyncPrefectClient, ended: Collection[UUID]) -> bool:
    flow_run_id = _flow_run_id()
    this = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id])) if flow_run_id else None
    running = TaskRunFilter(state=_state(StateType.RUNNING))
    done = TaskRunFilter(id=TaskRunFilterId(any_=list(ended)), state=_state(*_FINAL))
    order = TaskRunSort.ID_DESC
    if client.read_task_runs(flow_run_filter=this, task_run_filter=running, limit=1, sort=order):
        return False
    found = client.read_task_runs(task_run_filter=done, limit=len(ended) + 1, sort=order)
    return {run.id for run in found} >= set(ended)


def _state(*types: StateType) -> TaskRunFilterState:
    return TaskRunFilterState(type=TaskRunFilterStateType(any_=list(types)))


def _flow_run_id() -> UUID | None:
    context = FlowRunContext.get()
    return context.flow_run.id if context and context.flow_run else None
