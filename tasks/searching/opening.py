"""Open a table for questions."""

from __future__ import annotations

from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance import Store, StoreSpec
from prefect_ollama.tasks.prefect_state import run_logger


def open_for_search(spec: StoreSpec) -> Store:
    """Open a table. A table of an earlier version gets its index of words, if it can be written.

    Raises:
        TableMissing: There is no such table.
        TableError: It cannot be reached or read.
    """
    store = Store.open(spec)
    try:
        if store.upgrade():
            run_logger().info("The table is of an earlier version; its words were indexed again.")
    except TableError as error:  # without the right to write, the search by vectors still works
        run_logger().warning("Some words are not found: %s", error)
    return store
