"""The log of runs: who changed the tables, when, and which versions were there before.

A run that ends says so. One that does not is told by its process: gone on this host, or silent for a day
on another; it is then marked interrupted, which harms nothing if it should still come to its end.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pyarrow as pa

from prefect_ollama.blocks.documents import RUN_INTERRUPTED, RUN_RUNNING, Run
from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance import _schema as schema
from prefect_ollama.blocks.lance.commits import alive, commit, merge

_SILENT: Final = timedelta(days=1)


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
            status=RUN_RUNNING,
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
        return [run for run in self.all() if run.status == RUN_RUNNING and not _is_abandoned(run)]

    def close_abandoned(self) -> list[Run]:
        """Mark as interrupted the runs whose process is gone; return all runs that were open until now."""
        unended = [run for run in self.all() if run.status == RUN_RUNNING]
        gone = [replace(run, status=RUN_INTERRUPTED, ended_at=now()) for run in unended if _is_abandoned(run)]
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
