"""What a flow knows of its task runs, and tells Prefect's server where nobody else does.

Guarantees: a task run that no worker ends any more is `Crashed` on the server; when the flow is over, so are all its
task runs there, also where the server was killed meanwhile and has forgotten what it was told.
"""

from __future__ import annotations

import contextvars
import re
import time
from typing import Any
from uuid import UUID, uuid4

from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.logging import get_logger
from prefect.tasks import Task

from prefect_ollama.flows.records import Ended, report, tell_again, wait_until_recorded
from prefect_ollama.flows.server import ServerWatch

LAST = 64
"""Task runs that ended last, whose record shows that a server has those of the earlier ones."""


class Ledger:
    """The task runs of one flow run that were handed to workers.

    Attributes:
        token: In all their keys, and in no other's.
    """

    def __init__(self) -> None:
        self.token = uuid4().hex[:8]
        self._context: contextvars.Context | None = None
        self._watch: ServerWatch | None = None
        self._tasks: dict[str, Task[..., Any]] = {}
        self._reported: set[str] = set()
        self._ended: dict[UUID, Ended] = {}
        self._logger = get_logger("task_runner.ingest")

    def open(self) -> None:
        """Begin, in the context of the flow run; from now on its server is watched."""
        self._context = contextvars.copy_context()
        if self._watch is None and FlowRunContext.get():
            self._watch = ServerWatch()

    def enter(self, task: Task[..., Any], task_run_id: UUID) -> str:
        """Return the Dask key of a task run, whose parts Dask's dashboard leaves away but for the task's name."""
        self._tasks[task.name] = task
        return f"{task.name}-{self.token}-{task_run_id}"

    def note_end(self, task_run_id: UUID, state: State[Any]) -> None:
        """Remember how a task run ended."""
        kept = {
            "id": state.id,
            "timestamp": state.timestamp,
            "data": None,
        }  # Prefect renews the first two otherwise
        self._ended[task_run_id] = Ended(state.model_copy(update=kept), time.monotonic())

    def report(self, key: str, state: State[Any]) -> None:
        """Tell the server that the task run under a key is in `state`, which no worker will."""
        name, token, task_run_id = _parts(key)
        if task_run_id is None or token != self.token or key in self._reported or self._context is None:
            return  # of another flow on the same workers, or told before
        self._reported.add(key)
        try:
            self._context.copy().run(report, task_run_id, self._tasks[name], state)
        except Exception:
            self._logger.warning("Could not report task run %s as %s", task_run_id, state, exc_info=True)

    def close(self) -> None:
        """See to it that the server writes down how all ended."""
        if self._watch is not None:
            self._watch.close()
        if self._context is None:
            return
        last = {*[*self._ended][-LAST:], *(UUID(key[-36:]) for key in self._reported)}
        doubtful = self._watch is not None and self._watch.missed > 0
        try:
            settled = self._context.copy().run(wait_until_recorded, last)
            self._context.copy().run(tell_again, self._ended, doubtful=doubtful)
        except Exception:
            self._logger.debug("The server was not asked", exc_info=True)
            settled = False
        if not settled:
            self._logger.warning("Prefect's server may show some task runs of this flow run as unfinished.")


def _parts(key: str) -> tuple[str, str, UUID | None]:
    """Return name, token and id that a key was made from; the id is `None` in keys of others."""
    found = re.fullmatch(r"(.+)-([0-9a-f]{8})-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", key, re.DOTALL)
    return (found[1], found[2], UUID(found[3])) if found else ("", "", None)
