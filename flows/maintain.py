"""Keep a table fast: merge files, build the indices that its size needs, delete old versions."""

from typing import Annotated

from prefect_ollama.blocks.lance import Maintenance
from prefect_ollama.blocks.resolve import resolve_table
from prefect_ollama.flows import parameters
from prefect_ollama.flows.base import check_first, flow, refuse_empty_tabs, table_exists, unless_named
from prefect_ollama.flows.parameters import shown, table_display_name
from prefect_ollama.tasks.maintain import maintain_store
from prefect_ollama.tasks.prefect_state import Opaque, label_flow_run

# Days in which a run can be rolled back. Old versions take disk space until then.
KEEP_DAYS = 7.0
# MiB of memory; docs/table.md has what tables of several sizes take.
MEMORY_MB = 4096


@flow(
    name="maintain-table",
    flow_run_name=unless_named(lambda given: f"maintain {table_display_name(given['table'])}"),
    description="Run the maintenance that a LanceDB table needs: merge files, index, delete old versions.",
)
@check_first(table_exists)
def maintain_table(
    table: parameters.Table = None,
    force: Annotated[bool, shown("Force", "Run all maintenance, even if it is not due.")] = False,
    keep_days: Annotated[
        float, shown("Keep", "Days to keep old versions. Older runs cannot be rolled back.", ge=0, le=36_500)
    ] = KEEP_DAYS,
    memory_mb: Annotated[int, shown("Memory", "Maximum memory of the maintenance in MiB.", gt=0)] = MEMORY_MB,
) -> Maintenance:
    """Optimise a table, update its indices and delete files of killed writers, if the table needs it.

    Returns:
        What was done.

    Raises:
        TableError: Maintenance needed more memory or time than its limit; the table is whole.

    Requires: the table writable on the machine that runs it.

    Examples:
        >>> from prefect_ollama.flows import maintain_table
        >>> maintain_table("papers").left_over_files
        0
    """
    refuse_empty_tabs()
    label_flow_run()
    place = resolve_table(table)
    return maintain_store(Opaque(place), force=force, keep_days=keep_days, memory_mb=memory_mb)
