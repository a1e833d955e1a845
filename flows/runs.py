"""List the runs that changed a table, and roll them back."""

from typing import Annotated

from prefect.runtime import flow_run

from prefect_ollama.blocks.documents import Run
from prefect_ollama.blocks.lance import Store, Undo
from prefect_ollama.blocks.resolve import resolve_table
from prefect_ollama.blocks.table import LanceTable
from prefect_ollama.flows import parameters
from prefect_ollama.flows.base import check_first, flow, refuse_empty_tabs, table_exists, unless_named
from prefect_ollama.flows.parameters import shown
from prefect_ollama.tasks.prefect_state import label_flow_run, run_logger, source_assets
from prefect_ollama.tasks.publish import publish_run


def runs(table: parameters.Table = None) -> list[Run]:
    """Return all runs over a table, the oldest first, with what each changed (`Run.counts`).

    This is not a flow and changes nothing.

    Raises:
        TableMissing: The table does not exist.

    Examples:
        >>> from prefect_ollama.flows import runs
        >>> [(run.kind, run.status) for run in runs("papers")][:1]
        [('ingest', 'done')]
    """
    return Store.open(resolve_table(table)).runs()


def preview_roll_back(
    run_id: str, table: LanceTable | str | None = None, including_later: bool = False
) -> Undo:
    """Return what `roll_back` would do. This is not a flow and changes nothing.

    Raises:
        TableMissing: The table does not exist.
        TableError: It would be refused, for the reasons of `roll_back`.

    Examples:
        >>> from prefect_ollama.flows import preview_roll_back, runs
        >>> last = runs("papers")[-1]
        >>> preview_roll_back(last.run_id, "papers").removed
        2
    """
    return Store.open(resolve_table(table)).preview_roll_back(run_id, including_later=including_later)


@flow(
    name="roll-back",
    flow_run_name=unless_named(lambda given: f"roll back {given['run_id']}"),
    description="Restore a table as it was before a run. Other sources do not change.",
)
@check_first(table_exists)
def roll_back(
    run_id: Annotated[str, shown("Run", "The run to undo, as its report names it.", min_length=1)],
    table: parameters.Table = None,
    # Off by default, so that a roll back undoes only the named run.
    including_later: Annotated[
        bool, shown("Including later", "Also undo later runs of the same source.")
    ] = False,
) -> Run:
    """Make the documents of a run's source what they were before it.

    The roll back is a run of its own, and can be undone.

    Returns:
        The run that undid it.

    Raises:
        TableMissing: The table does not exist.
        TableError: There is no such run, later runs build on it, or the versions before it are not kept any more.

    Requires: the table writable on the machine that runs it.

    Examples:
        >>> from prefect_ollama.flows import roll_back, runs
        >>> last = runs("copied")[-1]
        >>> roll_back(last.run_id, "copied").kind
        'roll back'
    """
    refuse_empty_tabs()
    label_flow_run()
    store = Store.open(resolve_table(table))
    undone = store.roll_back(run_id, str(flow_run.id or f"undo-{run_id}"), including_later=including_later)
    run_logger().info("Rolled back %s: %s", run_id, dict(undone.counts))
    publish_run(store, undone, source_assets(undone.source))
    return undone
