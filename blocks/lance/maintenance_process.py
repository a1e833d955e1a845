"""The process that maintains a table; `maintenance.maintain` starts it, and kills it if it takes too much memory.

It reads an order, one JSON object, from its standard input, and writes a report, one line of JSON, to its
standard output.
"""

import json
import sys
from datetime import timedelta
from functools import partial
from typing import Any

from pydantic import SecretStr

from prefect_ollama.blocks.child_processes import end_with_parent
from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance import _import_lancedb
from prefect_ollama.blocks.lance import _migration as migration
from prefect_ollama.blocks.lance._indices import (
    cells_for,
    ensure_indices,
    vector_index,
    vector_index_config,
    vector_index_due,
)
from prefect_ollama.blocks.lance._write_lock import WriteLock, fsynced
from prefect_ollama.blocks.lance.commits import commit, files_of
from prefect_ollama.blocks.lance.maintenance import SMALL_FILES
from prefect_ollama.blocks.lance.opening import connect, open_table
from prefect_ollama.blocks.lance.spec import StoreSpec


def run_maintenance(spec: StoreSpec, *, keep: timedelta, force: bool) -> list[str]:
    """Optimise the tables, update the indices, and return the steps that were done.

    Raises:
        TableError: A table cannot be written.
    """
    done = [f"brought {name} to the present schema" for name in migration.upgrade(spec, WriteLock(spec))]
    connection = connect(spec)
    for name in spec.tables:
        table = open_table(connection, spec, name)
        if table is None:
            continue
        if name == spec.table:
            done += [f"indexed {column}" for column in ensure_indices(table, rebuild=force)]
            # Before files are merged: merging reads the index, and a damaged one would stop it.
            if force and vector_index(table) is not None:
                done.append(_index_vectors(table))
        before = files_of(table)
        if name == spec.table or force or before.small >= SMALL_FILES:
            _optimize(table, name, keep)
            done.append(f"optimised {name}: {before.count} files became {files_of(table).count}")
        if name == spec.table and vector_index_due(table):
            done.append(_index_vectors(table))
    return done


def _optimize(table: Any, name: str, keep: timedelta) -> None:
    failure = f"Table {name!r} cannot be optimised"
    try:
        commit(failure, lambda: table.optimize(cleanup_older_than=keep))
    except TableError as error:
        # LanceDB refuses to clean up while a user's tag holds an old version. Then files are merged, and no version
        # is deleted: none is older than a hundred years.
        if "tag" not in str(error).lower():
            raise
        commit(failure, lambda: table.optimize(cleanup_older_than=timedelta(days=36_500)))


def _index_vectors(table: Any) -> str:
    """Build the index over the vectors again: cells of some thousand rows, 8 bits for each number."""
    # The name says how many rows the cells were learned from, and a new name keeps the old index until this one is
    # done.
    rows, old = table.count_rows(), vector_index(table)
    name, cells = f"vector_{rows}", cells_for(rows)
    while not _indexed(table, name, cells):  # vectors that are much alike fill fewer cells
        cells //= 2
    if old is not None and old[0] != name:
        commit("The old index cannot be dropped", partial(table.drop_index, old[0]))
    return f"indexed {rows} vectors in {cells} cells"


def _indexed(table: Any, name: str, cells: int) -> bool:
    """Index the vectors in this many cells; return False if they are too similar for that."""
    config = vector_index_config(table, cells)
    try:
        commit(
            "The vectors cannot be indexed",
            lambda: table.create_index("vector", config=config, name=name, replace=True),
        )
    except TableError as error:
        if cells == 1 or "clusters" not in str(error):
            raise
        return False
    return True


def main() -> None:
    """Carry out the order on standard input, which may come long after the start."""
    end_with_parent()
    _import_lancedb.load()  # takes two seconds, in which the run that started this process goes on
    order = json.load(sys.stdin)
    # They come over the pipe, because other users can see the arguments of a process.
    options = tuple((name, SecretStr(value)) for name, value in order["storage_options"].items())
    spec = StoreSpec(order["uri"], order["table"], options)
    try:
        with fsynced(spec):
            done = run_maintenance(spec, keep=timedelta(seconds=order["keep"]), force=order["force"])
    except TableError as error:
        print(error.cause, file=sys.stderr)
        sys.exit(1)
    print(json.dumps({"done": done}))


if __name__ == "__main__":
    main()
