"""Tables that an earlier version of this project made get the present columns, in place and with nothing embedded anew.

Guarantees: each of the three tables is rewritten in one commit, the chunk table last, whose schema says that all is
done; so a migration that is killed leaves what a reader can read, and the next one goes on. Earlier versions stay, and
with them the way back to before earlier runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from prefect_ollama.blocks.lance import _schema as schema
from prefect_ollama.blocks.lance._damage import failure
from prefect_ollama.blocks.lance.commits import connect, open_table
from prefect_ollama.blocks.lance.spec import StoreSpec
from prefect_ollama.blocks.secrets import harmless

BATCH_ROWS = 4_096


def outdated(connection: Any, spec: StoreSpec) -> list[tuple[Any, pa.Schema]]:
    """Return those of a store's tables that have not the present schema, each with the schema it should have.

    Raises:
        TableError: The chunk table is none of this project's, or a later version wrote it.
    """
    chunks = open_table(connection, spec, spec.table)
    if chunks is None:
        return []
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


def upgrade(spec: StoreSpec) -> list[str]:
    """Bring a store's tables to the present schema; return the names of those that were not.

    The caller holds the lock (`Guard`) and has seen to it that no run is open.

    Raises:
        TableError: A table cannot be written; it is as it was.
    """
    done = []
    connection = connect(spec)
    for table, wanted in outdated(connection, spec):
        rewrite(
            spec, table.name, table, wanted, _titles(connection, spec) if table.name == spec.table else {}
        )
        done.append(table.name)
    return done


def _titles(connection: Any, spec: StoreSpec) -> dict[str, str]:
    """Titles of the documents, by `doc_id`."""
    manifest = open_table(connection, spec, spec.documents_table)
    if manifest is None:
        return {}
    rows = manifest.search().select(["doc_id", "title"]).to_arrow()
    return dict(zip(rows["doc_id"].to_pylist(), rows["title"].to_pylist(), strict=True))


def rewrite(
    spec: StoreSpec, name: str, source: Any, wanted: pa.Schema, titles: Mapping[str, str] | None = None
) -> None:
    """Put the rows of a table, in a schema, in the place of those of the table of a name, in one commit, streaming.

    Args:
        spec: The store.
        name: The table that is overwritten.
        source: The table that has the rows.
        wanted: The schema.
        titles: Titles of documents by `doc_id`, for rows of chunks that have none.

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
        what = f"Table {name!r} cannot be overwritten"
        raise failure(what, error, spec, state="It is as it was.", remedy="Run it again.") from harmless(
            error
        )
