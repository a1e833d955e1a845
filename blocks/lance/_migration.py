"""Migrate tables of earlier versions of this project to the present schema, in place and without embedding again.

Guarantees:

- Each of the three tables is rewritten in one commit, the chunk table last, whose schema says that all is done. So a
  reader can use the table after a killed migration, and the next one continues it.
- Only one process at a time migrates a table, also in an object store, which has no locks: overwriting a table would
  lose rows that others wrote since it was read. The other processes wait, and then have nothing to do.
- Earlier versions stay, so earlier runs can still be rolled back.
"""

import itertools
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import pyarrow as pa

from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance import _schema as schema
from prefect_ollama.blocks.lance._damage import failure
from prefect_ollama.blocks.lance._indices import ensure_indices
from prefect_ollama.blocks.lance._runs import MIGRATE, RunLog, refuse_open_runs
from prefect_ollama.blocks.lance._write_lock import WriteLock
from prefect_ollama.blocks.lance.commits import commit, pause
from prefect_ollama.blocks.lance.opening import connect, open_table
from prefect_ollama.blocks.lance.spec import StoreSpec
from prefect_ollama.blocks.secrets import safe_cause

# Rows in memory at once while a table is rewritten: 12 MB of 768 floats.
BATCH_ROWS: Final = 4_096

# Seconds to wait for another process that migrates the table.
CLAIM_TIMEOUT_S: Final = 60.0


def outdated(connection: Any, spec: StoreSpec) -> list[tuple[Any, pa.Schema]]:
    """Return the tables of a store without the present schema, each with the schema that it should have."""
    chunks = open_table(connection, spec, spec.table)
    if chunks is None:
        return []
    # In the order of writing. The chunk table is last, because its schema shows that everything is done.
    wanted = {
        spec.runs_table: schema.RUNS,
        spec.documents_table: schema.DOCUMENTS,
        spec.table: schema.chunk_schema(schema.stored_identity(chunks.schema, spec.table)),
    }
    tables = {name: open_table(connection, spec, name) for name in wanted}
    return [
        (table, wanted[name])
        for name, table in tables.items()
        if table is not None and not table.schema.equals(wanted[name], check_metadata=True)
    ]


def upgrade(spec: StoreSpec, guard: WriteLock) -> list[str]:
    """Migrate a store's tables to the present schema and index them; return the names of those that were rewritten.

    Raises:
        TableError: A run is open on the table, another process migrates it for more than `CLAIM_TIMEOUT_S`, or a table
            cannot be written; it is as it was.
    """
    connection = connect(spec)
    if not outdated(connection, spec):
        return []
    with guard.held():
        log = RunLog(open_table(connection, spec, spec.runs_table))
        with _claimed(spec, log):
            # Abandoned runs stay open in the log, so that the next run checks what they left (`Store.begin_run`).
            refuse_open_runs(run for run in log.open() if run.kind != MIGRATE)
            done = rewrite_outdated(spec)
            chunks = open_table(connection, spec, spec.table)
            commit("The table cannot be indexed", lambda: ensure_indices(chunks), spec)
            return done


@contextmanager
def _claimed(spec: StoreSpec, log: RunLog) -> Iterator[None]:
    """Claim the migration of the table for this process; `TableError` if others take too long."""
    deadline = time.monotonic() + CLAIM_TIMEOUT_S
    for attempt in itertools.count(1):
        run, mine = log.claim()
        if mine:
            break
        if time.monotonic() > deadline:
            raise TableError(
                f"Process {run.pid} on host {run.host!r} is bringing table {spec.table!r} to the present schema.",
                state="This process changed nothing.",
                remedy="Wait for its end and run it again. If that process was killed on another host, this one can "
                "continue a day after it began.",
            )
        pause(attempt)
    try:
        yield
    finally:
        log.release(run)


def rewrite_outdated(spec: StoreSpec) -> list[str]:
    """Rewrite the tables without the present schema, and return their names. No other process may write meanwhile."""
    done = []
    connection = connect(spec)
    for table, wanted in outdated(connection, spec):
        titles = _titles(connection, spec) if table.name == spec.table else {}
        rewrite(spec, table.name, table, wanted, titles)
        done.append(table.name)
    return done


def _titles(connection: Any, spec: StoreSpec) -> dict[str, str]:
    """Return the titles of the documents, by `doc_id`."""
    manifest = open_table(connection, spec, spec.documents_table)
    if manifest is None:
        return {}
    rows = manifest.search().select(["doc_id", "title"]).to_arrow()
    return dict(zip(rows["doc_id"].to_pylist(), rows["title"].to_pylist(), strict=True))


def rewrite(
    spec: StoreSpec, name: str, source: Any, wanted: pa.Schema, titles: Mapping[str, str] | None = None
) -> None:
    """Overwrite a table with the rows of another table or version, in another schema, in one commit.

    Args:
        source: The table that has the rows. The rows are streamed. titles: Titles of documents by `doc_id`, for rows of
            chunks without a title.

    Raises:
        TableError: The commit failed; the table is as it was.
    """

    def stream() -> Iterator[pa.RecordBatch]:
        for batch in source.search().to_batches(batch_size=BATCH_ROWS):
            yield from schema.upgraded(pa.table(batch), wanted, titles).to_batches()

    rows = pa.RecordBatchReader.from_batches(wanted, stream())
    try:
        connect(spec).create_table(name, data=rows, schema=wanted, mode="overwrite")
    except Exception as error:
        what, state = f"Table {name!r} cannot be overwritten", "It is as it was."
        raise failure(what, error, spec, state=state, remedy="Run it again.") from safe_cause(error)
