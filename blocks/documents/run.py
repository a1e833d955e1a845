"""A run over a table, as its log keeps it. Pure values, no behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from prefect_ollama.blocks.awaited import Awaitable

RUN_RUNNING: Final = "running"


RUN_DONE: Final = "done"


RUN_FAILED: Final = "failed"


RUN_INTERRUPTED: Final = "interrupted"


RUN_ROLLED_BACK: Final = "rolled back"


@dataclass(frozen=True, slots=True)
class Run(Awaitable):
    """One run over a table.

    Attributes:
        run_id: Name of the run, as the caller gave it.
        kind: What it did: `ingest`, `roll back`, ….
        source: The source whose documents it changed; a run touches those of one source only.
        status: `running`, `done`, `failed`, `interrupted` or `rolled back`.
        started_at: When it began.
        ended_at: When it ended, or was found to be interrupted, or None.
        chunks_before: Version of the chunk table when it began.
        documents_before: Version of the manifest when it began.
        chunks_after: Version of the chunk table when it ended, or None.
        documents_after: Version of the manifest when it ended, or None.
        host: Host it ran on.
        pid: Process it ran in.
        counts: What it did in figures, as the caller gave them.
        model: Fingerprint of the model that embedded, with what nodes said of it; empty where no node was asked, and
            in runs of earlier versions.
    """

    run_id: str
    kind: str
    source: str
    status: str
    started_at: datetime
    ended_at: datetime | None
    chunks_before: int
    documents_before: int
    chunks_after: int | None
    documents_after: int | None
    host: str
    pid: int
    counts: Mapping[str, float] = field(default_factory=dict)
    model: str = ""
