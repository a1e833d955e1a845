"""The log of runs: which run changed the tables, when, and which versions they had before.

A run that ends is marked so. A run that was killed is recognised by its process: on this host the process is gone, and
on another host the run began more than a day ago. Such a run is marked as interrupted. If it still runs, it may end as
usual.
"""

import json
import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psutil
import pyarrow as pa

from prefect_ollama.blocks.documents import RUN_INTERRUPTED, RUN_RUNNING, Run
from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance import _schema as schema
from prefect_ollama.blocks.lance.commits import commit, merge
from prefect_ollama.blocks.lance.filters import both, equals

# Name and kind of the run that is in the log while a table is migrated.
MIGRATE: Final = "migrate"

# Age at which a run of another host counts as killed: its process cannot be seen from here, and few runs take a day.
_SILENT: Final = timedelta(days=1)

# Seconds by which the start time of a process may seem to change when the system's clock is set.
CLOCK_STEP_S: Final = 60.0


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
        """Return one run; raise `TableError` if no run has this name."""
        for run in self.all():
            if run.run_id == run_id:
                return run
        raise TableError(
            f"There is no run {run_id!r}.", remedy="`runs` (`prefect-ollama runs`) lists the runs of a table."
        )

    def begin(self, run_id: str, source: str, kind: str, chunks: int, documents: int, model: str = "") -> Run:
        """Log the beginning of a run; `TableError` if a run of this name is there already."""
        if any(run.run_id == run_id for run in self.all()):
            raise TableError(
                f"A run {run_id!r} is in the log already.",
                state="Nothing was changed.",
                remedy="Give each run a name of its own.",
            )
        started = _started(run_id, kind, source, chunks, documents, model)
        self.put(started)
        return started

    def put(self, *runs: Run) -> None:
        """Write runs; each replaces the run of its name."""
        rows = _rows(runs)
        commit("The run cannot be logged", lambda: merge(self._completed(rows), "run_id", rows))

    def claim(self) -> tuple[Run, bool]:
        """Log that this process migrates the table, unless another one does.

        A claim needs no locks: if two processes insert one key, LanceDB accepts only one of the inserts.

        Returns:
            The run that is in the log now, and whether this call logged it.
        """
        mine = _started(MIGRATE, MIGRATE, "", 0, 0, "")
        rows = _rows([mine])

        def insert() -> None:
            inserted = self._completed(rows).merge_insert("run_id").when_not_matched_insert_all()
            inserted.use_index(False).execute(rows)

        while True:
            for run in self.all():
                # A killed migration would block all others.
                if run.run_id == MIGRATE and _is_abandoned(run):
                    self.release(run)
            commit("The table cannot be brought to the present schema", insert)
            found = [run for run in self.all() if run.run_id == MIGRATE]
            if found:  # if not, the other process has ended meanwhile
                return found[0], found[0] == mine

    def release(self, run: Run) -> None:
        """Remove a migration from the log, if it is still the same one."""
        # Another process may have logged its own migration under this name meanwhile.
        same = both(equals("run_id", run.run_id), equals("host", run.host), f"pid = {run.pid}")
        commit("The log of runs cannot be written", lambda: self._table.delete(same))

    def _completed(self, rows: pa.Table) -> Any:
        """Return the table with all columns of the rows, which it lacks if an earlier version made it."""
        missing = [name for name in rows.column_names if name not in self._table.schema.names]
        if missing:
            self._table.add_columns(dict.fromkeys(missing, "''"))
        return self._table

    def open(self) -> list[Run]:
        """Return the runs that are not over, without those whose process is gone."""
        return [run for run in self.all() if run.status == RUN_RUNNING and not _is_abandoned(run)]

    def close_abandoned(self) -> list[Run]:
        """Mark as interrupted the runs whose process is gone; return all runs that were open until now."""
        unended = [run for run in self.all() if run.status == RUN_RUNNING]
        for run in filter(_is_abandoned, unended):
            if run.kind == MIGRATE:  # a killed migration leaves no documents to check
                self.release(run)
            else:
                self.put(replace(run, status=RUN_INTERRUPTED, ended_at=now()))
        return [run for run in unended if run.kind != MIGRATE]


def overlapping(run: Run, others: list[Run]) -> list[Run]:
    """Return the runs among others that were not over when this one began."""
    return [
        other
        for other in others
        if other.run_id != run.run_id and (other.ended_at is None or other.ended_at > run.started_at)
    ]


def refuse_open_runs(runs: Iterable[Run], source: str = "") -> None:
    """Raise a `TableError` if one of these runs is open; `source` is named in it."""
    for run in runs:
        if run.status == RUN_RUNNING:
            raise TableError(
                f"Run {run.run_id!r} over {source!r} is still open."
                if source
                else f"Run {run.run_id!r} is open.",
                state="Nothing was changed.",
                remedy="Wait for its end, or stop it.",
            )


def _started(run_id: str, kind: str, source: str, chunks: int, documents: int, model: str) -> Run:
    return Run(
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
        host=socket.gethostname(),
        pid=os.getpid(),
        model=model,
    )


def _rows(runs: Sequence[Run]) -> pa.Table:
    rows = [replace(run, counts=json.dumps(dict(run.counts))) for run in runs]  # type: ignore[arg-type]
    return pa.table(
        [pa.array([getattr(row, each.name) for row in rows], each.type) for each in schema.RUNS],
        schema=schema.RUNS,
    )


def alive(host: str, pid: int, this_host: str, since: datetime) -> bool:
    """Return whether a process that existed at a time may still run; a process of another host always may.

    After a restart of the machine or container, another process may have the same id. It started later.
    """
    if host != this_host:
        return True
    try:
        began = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # the system does not say
        return True
    return began < since.timestamp() + CLOCK_STEP_S


def _is_abandoned(run: Run) -> bool:
    here = socket.gethostname()
    return not alive(run.host, run.pid, here, run.started_at) or (
        run.host != here and now() - run.started_at > _SILENT
    )
