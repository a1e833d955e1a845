"""Futures of task runs on Dask.

Guarantees: a task run whose worker reported no end is `Crashed`, here and on the server, with an error that says why; a
released result is removed from the workers' memory.
"""

from typing import Any, TypeVar
from uuid import UUID

import distributed
from distributed.scheduler import KilledWorker, NoValidWorkerError, NoWorkerError
from prefect.client.schemas.objects import State
from prefect.states import Crashed
from prefect_dask.task_runners import PrefectDaskFuture

from prefect_ollama.blocks.errors import TaskRunLost
from prefect_ollama.flows.runner._task_run_states import TaskRunStates

R = TypeVar("R")


class IngestFuture(PrefectDaskFuture[R]):
    """The result of a task run on Dask, which names the cause when a worker is lost and can be released.

    Args:
        wrapped_future: The Dask future of the task run's final state.
        states: Learns how task runs ended, and reports it to the server for a worker that cannot.
    """

    def __init__(
        self, task_run_id: UUID, wrapped_future: distributed.Future[Any], *, task: str, states: TaskRunStates
    ) -> None:
        super().__init__(task_run_id=task_run_id, wrapped_future=wrapped_future)
        self._task = task
        self._states = states

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the task run has ended, or `timeout` seconds."""
        if self._final_state is not None:
            return
        try:
            final = self.wrapped_future.result(timeout=timeout)
        except (TimeoutError, distributed.TimeoutError):
            return
        except Exception as error:
            self._final_state = self._lost(error)
        else:
            self._final_state = final
            if final.is_final():
                self._states.note_end(self.task_run_id, final)

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> R:
        """Return what the task returned.

        Args:
            timeout: Seconds to wait for it.
            raise_on_failure: Raise what the task raised; otherwise return it.

        Raises:
            TimeoutError: The task run did not end in time.
            TaskRunLost: It ended without a final state: its workers died, or could not load it.
        """
        self.wait(timeout)
        if self._final_state is None:
            raise TimeoutError(f"Task run {self.task_run_id} did not complete within {timeout} seconds")
        return super().result(raise_on_failure=raise_on_failure)

    def release(self) -> None:
        """Drop the result here and, unless another task run still needs it, from the workers' memory."""
        self.wrapped_future.release()  # type: ignore[no-untyped-call]
        if self._final_state is not None:
            self._final_state.data = None

    def _lost(self, error: Exception) -> State[Any]:
        key = str(self.wrapped_future.key)
        remedy = "Look at the logs above; what was stored before is kept, so the flow can simply run again."
        if isinstance(error, KilledWorker):
            deaths = (
                f"{error.allowed_failures + 1} worker processes died while they had it, "
                f"the last one was {error.last_worker.name!r}."
            )
            remedy = "Look at its input and at the memory of the workers' machine. " + remedy
            if error.task == key:
                cause = deaths
            else:
                # The other future may never be asked for: in a chain only the last future is waited for.
                self._states.report(str(error.task), Crashed(message=f"{deaths} {remedy}"))
                cause = f"it never started, because of {error.task!r}, which it needs, {deaths}"
        elif isinstance(error, NoWorkerError | NoValidWorkerError):
            cause = "no worker process that could run it was there in time."
            remedy = (
                "If the log above names no error of a worker process, the machine was too busy to start one. "
                "What was stored before is kept, so run the flow again when the machine has time."
            )
        else:
            cause = f"its worker gave no state but {error!r}."
        lost = TaskRunLost(cause, task_run_id=self.task_run_id, task=self._task, remedy=remedy)
        lost.__cause__ = error
        state: State[Any] = Crashed(message=str(lost), data=lost)
        self._states.report(key, state)
        return state
