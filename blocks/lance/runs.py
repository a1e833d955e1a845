"""The log of runs: who changed the tables, when, and which versions were there before.

A run that ends says so. One that does not is told by its process: gone on this host, or silent for a day
on another; it is then marked interrupted, which harms nothing if it should still come to its end.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pyarrow as pa

from prefect_ollama.blocks.awaited import Awaitable
from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance import schema
from prefect_ollama.blocks.lance.tables import alive, commit, merge

RUNNING: Final = "running"
DONE: Final = "done"
FAILED: Final = "failed"
INTERRUPTED: Final = "interrupted"
ROLLED_BACK: Final = "rolled back"

_SILENT: Final = timedelta(days=1)


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


def now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


class RunLog:
    """The table of runs."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def all(self) -> list[Run]:
        """Return all runs, the oldest first."""
        columns = self._table.to_arrow().sort_by("started_at")
        names = {each.name for each in fields(Run)}.intersection(columns.column_names)
        rows = columns.select(sorted(names)).to_pylist()
        return [Run(**{**row, "counts": json.loads(row["counts"])}) for row in rows]

    def find(self, run_id: str) -> Run:
        """Return one run.

        Raises:
            TableError: There is none of this name.
        """
        for run in self.all():
            if run.run_id == run_id:
                return run
        raise TableError(f"There is no run {run_id!r}.", remedy="`runs` lists those there are.")

    def begin(self, run_id: str, source: str, kind: str, chunks: int, documents: int, model: str = "") -> Run:
        """Log the beginning of a run.

        Raises:
            TableError: A run of this name is there already.
        """
        if any(run.run_id == run_id for run in self.all()):
            raise TableError(
                f"A run {run_id!r} is in the log already.",
                state="Nothing was changed.",
                remedy="Give each run a name of its own.",
            )
        started = Run(
            run_id=run_id,
            kind=kind,
            source=source,
            status=RUNNING,
            started_at=now(),
            ended_at=None,
            chunks_before=chunks,
            documents_before=documents,
            chunks_after=None,
            documents_after=None,
            host=_host(),
            pid=os.getpid(),
            model=model,
        )
        self.put(started)
        return started

    def put(self, *runs: Run) -> None:
        """Write runs, each in the place of the one of its name."""
        rows = [replace(run, counts=json.dumps(dict(run.counts))) for run in runs]  # type: ignore[arg-type]
        table = pa.table(
            [pa.array([getattr(row, each.name) for row in rows], each.type) for each in schema.RUNS],
            schema=schema.RUNS,
        )
        commit("The run cannot be logged", lambda: self._write(table))

    def _write(self, rows: pa.Table) -> None:
        missing = [name for name in rows.column_names if name not in self._table.schema.names]
        if missing:  # an earlier version made this log
            self._table.add_columns(dict.fromkeys(missing, "''"))
        merge(self._table, "run_id", rows)

    def open(self) -> list[Run]:
        """Return the runs that are not over, without those whose process is gone."""
        return [run for run in self.all() if run.status == RUNNING and not _is_abandoned(run)]

    def close_abandoned(self) -> list[Run]:
        """Mark as interrupted the runs whose process is gone; return all runs that were open until now."""
        unended = [run for run in self.all() if run.status == RUNNING]
        gone = [replace(run, status=INTERRUPTED, ended_at=now()) for run in unended if _is_abandoned(run)]
        if gone:
            self.put(*gone)
        return unended


def overlapping(run: Run, others: list[Run]) -> list[Run]:
    """Return the runs among others that were not over when this one began."""
    return [
        other
        for other in others
        if other.run_id != run.run_id and (other.ended_at is None or other.ended_at > run.started_at)
    ]


def _is_abandoned(run: Run) -> bool:
    return not alive(run.host, run.pid, _host(), run.started_at) or (
        run.host != _host() and now() - run.started_at > _SILENT
    )


def _host() -> str:
    return socket.gethostname()
