"""Errors of Prefect's server and of task runs."""

from __future__ import annotations

from uuid import UUID

from prefect_ollama.blocks.errors._base import PrefectOllamaError


# Its own class, because a file may have killed the worker: the run then reads the files of the bundle one by one.
class TaskRunLost(PrefectOllamaError):
    """The worker of a task run ended without reporting a result; on the server the run is `Crashed`.

    Args:
        task_run_id: Id of the Prefect task run.
        task: Name of the task.

    Examples:
        >>> import pickle, uuid
        >>> from prefect_ollama.blocks.errors import TaskRunLost
        >>> error = TaskRunLost("its worker is gone.", task_run_id=uuid.uuid4(), task="parse")
        >>> pickle.loads(pickle.dumps(error)).task  # other processes get it unchanged
        'parse'
    """

    def __init__(
        self, cause: str, *, task_run_id: UUID, task: str, state: str = "", remedy: str = ""
    ) -> None:
        super().__init__(f"Task run {task!r} ({task_run_id}): {cause}", state=state, remedy=remedy)
        self.task_run_id = task_run_id
        self.task = task


# Its own class, because the start of a temporary server is tried again where the cause may pass.
class ServerUnavailable(PrefectOllamaError):
    """The Prefect server does not answer, or a temporary one cannot start. Nothing was done.

    Examples:
        >>> from prefect.settings import PREFECT_API_URL, temporary_settings
        >>> from prefect_ollama.blocks.errors import ServerUnavailable
        >>> from prefect_ollama.flows import check_nodes
        >>> with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        ...     try:
        ...         check_nodes("http://gpu-box:11434")
        ...     except ServerUnavailable as error:
        ...         print(error.cause)
        Prefect's server at http://127.0.0.1:1/api does not answer ...
    """


class ServerLost(PrefectOllamaError):
    """Prefect's server stopped during a run and did not come back. The results of the run are stored.

    Examples:
        >>> from prefect_ollama.blocks.errors import ServerLost
        >>> from prefect_ollama.flows import ingest_pdfs
        >>> try:
        ...     report = ingest_pdfs("papers", "http://gpu-box:11434", "papers", dry_run=True)
        ... except ServerLost as error:
        ...     print(error.remedy)  # all documents are stored
    """
