"""Swapping: replaces a table by its staging table, in which all documents were embedded again.

Readers see the old vectors until one commit replaces them. The old vectors stay as a version, so a swap can be rolled
back like any run. A swap that was killed can be repeated, because the staging table is dropped last.
"""

from __future__ import annotations

from prefect_ollama.blocks.documents import RUN_ROLLED_BACK, Run
from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance import rollback
from prefect_ollama.blocks.lance._runs import overlapping
from prefect_ollama.blocks.lance.commits import connect
from prefect_ollama.blocks.lance.spec import StoreSpec

# Kind of the run that swaps.
KIND = "re-embed"


def drop(spec: StoreSpec) -> None:
    """Drop the tables of a store that exist."""
    connection = connect(spec)
    for name in spec.tables:
        connection.drop_table(name, ignore_missing=True)


def refuse_undoing(target: Run, log: list[Run], chunks: set[int], documents: set[int]) -> None:
    """Raise an error if a swap cannot be undone.

    Raises:
        TableError: It is rolled back already, there are later runs, or the versions from before it were deleted.
    """
    if target.status == RUN_ROLLED_BACK:
        raise TableError(f"Run {target.run_id!r} is rolled back already.", state=rollback.UNCHANGED)
    later = [
        repr(run.run_id)
        for run in overlapping(target, log)
        if run.status != RUN_ROLLED_BACK and run.kind != rollback.KIND
    ]
    if later:
        raise TableError(
            f"Later runs stand on {target.run_id!r}, which replaced all vectors: {', '.join(later)}.",
            state=rollback.UNCHANGED,
            remedy="Roll those back first, the latest before the others.",
        )
    if target.chunks_before not in chunks or target.documents_before not in documents:
        raise TableError(
            f"The versions from before run {target.run_id!r} are not kept any more.",
            state=rollback.UNCHANGED,
            remedy="Maintenance deletes old versions after seven days, or as many as its option 'keep' says.",
        )
