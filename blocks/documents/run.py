"""A run over a table, as its log stores it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from prefect_ollama.blocks.sync_async import Awaitable

# Status of a run. The log of runs stores these words.
RUN_RUNNING: Final = "running"
RUN_DONE: Final = "done"
RUN_FAILED: Final = "failed"
RUN_INTERRUPTED: Final = "interrupted"
RUN_ROLLED_BACK: Final = "rolled back"


@dataclass(frozen=True, slots=True)
class Run(Awaitable):
    """One run over a table.

    Attributes:
        run_id: Name of the run, from its caller.
        kind: Kind of its work: `ingest`, `roll back`, ….
        source: The source of the documents that it changed. A run changes documents of one source only.
        status: `running`, `done`, `failed`, `interrupted` or `rolled back`.
        started_at: When it began.
        ended_at: When it ended or was found to be interrupted; None while it runs.
        chunks_before: Version of the chunk table when it began.
        documents_before: Version of the manifest when it began.
        chunks_after: Version of the chunk table when it ended; None while it runs.
        documents_after: Version of the manifest when it ended; None while it runs.
        host: Name of its host.
        pid: Id of its process.
        counts: Its results in numbers, from its caller.
        model: Fingerprint of the embedding model, with the nodes' description of it; empty without nodes, and in runs
            of earlier versions.
    """

    run_id: str
    kind: str
    source: str
    status: str
    started_at: datetime
    ended_at: datetime | None
    # Versions of the tables, because `roll_back` reads the rows of that time.
    chunks_before: int
    documents_before: int
    chunks_after: int | None
    documents_after: int | None
    host: str
    pid: int
    # The log stores them as JSON, so another figure needs no other column.
    counts: Mapping[str, float] = field(default_factory=dict)
    # Logs of earlier versions have no such column, so it needs a default.
    model: str = ""
