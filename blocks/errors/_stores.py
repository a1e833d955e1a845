"""Errors of what a run stands on: tables, the vector cache, the embedded model's files, Prefect's server, task runs."""

from uuid import UUID

from prefect_ollama.blocks.errors._base import PrefectOllamaError


class TableError(PrefectOllamaError):
    """The LanceDB table cannot be read or written as requested.

    Examples:
        >>> from prefect_ollama import open_corpus
        >>> from prefect_ollama.blocks.errors import TableError
        >>> with open_corpus("papers", "http://other-model-box:11434") as corpus:
        ...     try:
        ...         corpus.search("harbour tide")
        ...     except TableError as error:
        ...         print(error.state)
        Nothing was searched.
    """


# A class of its own, because a run creates a missing table, and only readers fail.
class TableMissing(TableError):
    """The table does not exist (yet).

    Examples:
        >>> from prefect_ollama import open_corpus
        >>> from prefect_ollama.blocks.errors import TableMissing
        >>> try:
        ...     open_corpus("no-such-table")
        ... except TableMissing as error:
        ...     print(error.cause)
        There is no table 'no-such-table' in ...
    """


class TableDamaged(TableError):
    """A part of the table is lost or cannot be read. The message names it, and the ways to recover.

    Examples:
        >>> import shutil
        >>> from prefect_ollama import open_corpus
        >>> from prefect_ollama.blocks.errors import TableDamaged
        >>> shutil.rmtree("copy/papers__documents.lance")
        >>> try:
        ...     open_corpus("./copy/papers.lance")
        ... except TableDamaged as error:
        ...     print(error.cause)
        A part is lost: its manifest (papers__documents.lance) cannot be found. ...
    """


# No `TableError`: runs catch it, warn, and embed without the cache.
class CacheError(PrefectOllamaError):
    """The vector cache's folder cannot be read or written. Embedding can go on without it.

    Args:
        folder: The folder.

    Examples:
        >>> from prefect_ollama.blocks.cache import CacheSpec, VectorCache
        >>> from prefect_ollama.blocks.errors import CacheError
        >>> try:
        ...     VectorCache(CacheSpec("papers/tides.pdf")).stats()  # a file, and no folder
        ... except CacheError as error:
        ...     print(error.folder.endswith("tides.pdf"))
        True
    """

    def __init__(self, cause: str, *, folder: str, state: str = "", remedy: str = "") -> None:
        super().__init__(f"Vector cache {folder!r}: {cause}", state=state, remedy=remedy)
        self.folder = folder


# Its own class, because the files are also used to count tokens, where an estimate can replace them.
class ModelFilesError(PrefectOllamaError):
    """The files of the embedded model are missing, or have other contents than expected.

    Examples:
        >>> from prefect_ollama.blocks.embedded import EmbeddedNodes
        >>> from prefect_ollama.blocks.errors import ModelFilesError
        >>> try:
        ...     EmbeddedNodes(1, model_dir="papers").__enter__()
        ... except ModelFilesError as error:
        ...     print(error.cause)
        The model folder ... holds no ...
    """


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
    """The Prefect server does not answer or cannot be used, or a temporary one cannot start. Nothing was done.

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
