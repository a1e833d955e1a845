"""Report states of task runs to the Prefect server when their workers cannot report them any more.

Guarantees: a task run that was lost is `Crashed` on the server. A temporary server, which ends with this process, has
recorded all states before. A server that was down gets the states again that it has lost.

States of task runs are sent as events, which the server writes to its database some seconds later. A server that is
killed loses the events that it has not written, and the task run would stay `Running` for ever.
"""

import contextvars
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID, uuid4

from prefect.client.base import ServerType
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, TaskRunFilter
from prefect.client.schemas.objects import TERMINAL_STATES, State, StateType, TaskRun
from prefect.client.schemas.sorting import TaskRunSort
from prefect.context import FlowRunContext, SyncClientContext
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_logger
from prefect.runtime import flow_run
from prefect.states import Completed, Crashed
from prefect.tasks import Task

from prefect_ollama.flows.runner.server_watch import ServerWatch
from prefect_ollama.tasks.prefect_state import UNREPORTED, unfinished_task_runs

# Seconds within which a server writes the events that it has received.
EVENT_LAG_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Ended:
    """The final state of a task run, without data, and `time.monotonic()` when the flow received it."""

    state: State[Any]
    at: float


def report(task_run_id: UUID, task: Task[..., Any], state: State[Any]) -> None:
    """Report the state of a task run to the server of the current context, in place of its worker.

    A task run that the server does not know gets Prefect's default name, because only the worker computes another one.
    """
    with SyncClientContext.get_or_create() as context:
        try:
            task_run = context.client.read_task_run(task_run_id)
        except ObjectNotFound:
            task_run = TaskRun(
                id=task_run_id,
                name=f"{task.name}-{str(task_run_id)[:3]}",
                flow_run_id=flow_run.id and UUID(flow_run.id),
                task_key=task.task_key,
                dynamic_key=str(task_run_id),
                tags=list(task.tags),
            )
    _emit_state(task_run, state)


def report_lost_states(ended: Mapping[UUID, Ended], *, doubtful: bool) -> None:
    """Report again the states that a permanent server has lost of task runs of the current flow run, which all ended.

    If there is no sign of a loss, this sends one request and does not wait.

    Args:
        ended: The ends of task runs that the flow knows, by id.
        doubtful: Whether the server was down, so that states which it does not write soon are lost.
    """
    if (this := _this()) is None:
        return
    context = FlowRunContext.get()
    state = context.flow_run.state if context and context.flow_run else None
    unknown: State[Any] = (Completed if state and state.is_completed() else Crashed)(message=UNREPORTED)
    with SyncClientContext.get_or_create() as opened:
        deadline = time.monotonic() + EVENT_LAG_S
        while left := unfinished_task_runs(opened.client, this):
            old = [
                run for run in left if run.id in ended and time.monotonic() - ended[run.id].at > EVENT_LAG_S
            ]
            if not doubtful and not old:
                return
            doubtful = True
            if time.monotonic() > deadline:
                break
            time.sleep(0.5)
        for run in left:
            known = ended[run.id].state if run.id in ended else unknown
            # A new id, because the server may know the event of the old id without having written its state.
            _emit_state(run, known.model_copy(update={"id": uuid4(), "timestamp": known.timestamp}))


def wait_until_recorded(ended: Collection[UUID]) -> bool:
    """Wait until a temporary server has recorded all task runs of the current flow run, and return whether it has.

    For a permanent server this returns at once.

    Args:
        ended: Ids of the task runs that ended last. When they are recorded, so are the earlier ones.
    """
    with SyncClientContext.get_or_create() as context:
        if context.client.server_type != ServerType.EPHEMERAL:
            return True
        deadline = time.monotonic() + EVENT_LAG_S
        while not _recorded(context.client, ended):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
    return True


def _recorded(client: SyncPrefectClient, ended: Collection[UUID]) -> bool:
    order = TaskRunSort.ID_DESC
    running = TaskRunFilter.model_validate({"state": {"type": {"any_": [StateType.RUNNING]}}})
    done = TaskRunFilter.model_validate(
        {"id": {"any_": list(ended)}, "state": {"type": {"any_": [*TERMINAL_STATES]}}}
    )
    if client.read_task_runs(flow_run_filter=_this(), task_run_filter=running, limit=1, sort=order):
        return False
    found = client.read_task_runs(task_run_filter=done, limit=len(ended) + 1, sort=order)
    return {run.id for run in found} >= set(ended)


def _this() -> FlowRunFilter | None:
    """Return the filter for the current flow run; None if there is none."""
    return FlowRunFilter(id=FlowRunFilterId(any_=[UUID(flow_run.id)])) if flow_run.id else None


def _emit_state(task_run: TaskRun, state: State[Any]) -> None:
    # Imported here, because no public part of Prefect does this; a test holds that the function exists.
    from prefect.utilities.engine import emit_task_run_state_change_event

    # The state with the later time is kept, independent of the order in which the events arrive.
    before, task_run.state = task_run.state, state
    emit_task_run_state_change_event(task_run=task_run, initial_state=before, validated_state=state)


# How many of the last task runs `close` waits for. Events are written in order, so the earlier ones are written too.
AWAITED_TASK_RUNS = 64


class TaskRunStates:
    """The task runs of one flow run that were submitted to workers.

    Attributes:
        token: Part of all their Dask keys, and of no other keys.
    """

    def __init__(self) -> None:
        self.token = uuid4().hex[:8]
        self._context: contextvars.Context | None = None
        self._watch: ServerWatch | None = None
        self._task_runs: dict[str, tuple[UUID, Task[..., Any]]] = {}
        self._reported: set[str] = set()
        self._ended: dict[UUID, Ended] = {}
        self._logger = get_logger("task_runner.ingest")

    def open(self) -> None:
        """Start in the context of the flow run, and watch its server from now on."""
        self._context = contextvars.copy_context()
        if self._watch is None and FlowRunContext.get():
            self._watch = ServerWatch()

    def enter(self, task: Task[..., Any], task_run_id: UUID) -> str:
        """Return the Dask key of a task run."""
        # Dask's dashboard groups keys by their first part, so it shows the name of the task.
        key = f"{task.name}-{self.token}-{task_run_id}"
        self._task_runs[key] = task_run_id, task
        return key

    def note_end(self, task_run_id: UUID, state: State[Any]) -> None:
        """Remember the end of a task run."""
        # `model_copy` of a Prefect state would renew id and time.
        kept = {"id": state.id, "timestamp": state.timestamp, "data": None}
        self._ended[task_run_id] = Ended(state.model_copy(update=kept), time.monotonic())

    def report(self, key: str, state: State[Any]) -> None:
        """Report the state of the task run with this key to the server, in place of its worker."""
        if key not in self._task_runs or key in self._reported or self._context is None:
            return  # the task run belongs to another flow on the same workers, or was reported before
        self._reported.add(key)
        try:
            self._context.copy().run(report, *self._task_runs[key], state)
        except Exception:
            self._logger.warning("Could not report task run %s as %s", key, state, exc_info=True)

    def close(self) -> None:
        """Make sure that the server records the ends of all task runs."""
        if self._watch is not None:
            self._watch.close()
        if self._context is None:
            return
        last = {*[*self._ended][-AWAITED_TASK_RUNS:], *(self._task_runs[key][0] for key in self._reported)}
        doubtful = self._watch is not None and self._watch.missed > 0
        try:
            settled = self._context.copy().run(wait_until_recorded, last)
            self._context.copy().run(report_lost_states, self._ended, doubtful=doubtful)
        except Exception:
            self._logger.debug("The server was not asked", exc_info=True)
            settled = False
        if not settled:
            self._logger.warning("Prefect's server may show some task runs of this flow run as unfinished.")
