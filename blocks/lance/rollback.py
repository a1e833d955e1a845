"""Rolling back: restores the documents of a run's source as they were before the run.

Documents of other sources stay, with the changes that other runs made to them. Whole documents are restored, with
vectors and times.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from prefect_ollama.blocks.documents import RUN_ROLLED_BACK, Run
from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance._runs import overlapping, refuse_open_runs

# State and next step in errors of this module.
UNCHANGED = "Nothing was rolled back."
AGAIN = "To restore the documents, ingest or embed them again; their vectors are in the cache."

# Kind of the run that undoes another one, and of the one that replaces a table by its staging table. The log of runs
# stores these words.
KIND = "roll back"
SWAP = "re-embed"


@dataclass(frozen=True, slots=True)
class Undo:
    """The changes that a roll back would make.

    Attributes:
        table: Address of the table.
        runs: The runs that it undoes.
        source: Their source, empty for a swap.
        restored: Number of documents that are restored.
        removed: Number of documents that did not exist before.
        swap: Whether it restores a whole table, from before all documents were embedded again.
        chunks_now: Chunks in the table now.
        chunks_then: Chunks of the table before a swap.
    """

    table: str
    runs: tuple[str, ...]
    source: str
    restored: int = 0
    removed: int = 0
    swap: bool = False
    chunks_now: int = 0
    chunks_then: int = 0


def runs_to_undo(target: Run, log: Sequence[Run], *, including_later: bool) -> list[Run]:
    """Return the runs that rolling back this one undoes: the run itself, and later runs of its source.

    Raises:
        TableError: It is rolled back already or is a roll back itself, a run of its source is open, or there are later
            runs and `including_later` is False.
    """
    swap = target.kind == SWAP
    if target.kind == KIND:
        raise TableError(f"Run {target.run_id!r} is a roll back itself.", state=UNCHANGED, remedy=AGAIN)
    if target.status == RUN_ROLLED_BACK:
        raise TableError(f"Run {target.run_id!r} is rolled back already.", state=UNCHANGED, remedy=AGAIN)
    # A swap replaced the vectors of all sources, so later runs of any source stand on it, and are never undone with it.
    same = [run for run in log if run.run_id != target.run_id and (swap or run.source == target.source)]
    refuse_open_runs([target, *same], target.source)
    later = [run for run in overlapping(target, same) if run.status != RUN_ROLLED_BACK and run.kind != KIND]
    if later and (swap or not including_later):
        listed = ", ".join(repr(run.run_id) for run in later)
        over = "all sources" if swap else repr(target.source)
        raise TableError(
            f"Later runs over {over} stand on run {target.run_id!r}: {listed}.",
            state=UNCHANGED,
            remedy="Roll those back first, the latest before the others"
            f"{'' if swap else ', or all at once with *Including later* (`--including-later`)'}.",
        )
    return [target, *later]


def differing(before: pa.Table, now: pa.Table) -> tuple[list[str], list[str]]:
    """Compare two states of a source's manifest.

    Returns:
        The documents whose row has changed or is gone, and the documents that are new.
    """
    rows = {row["doc_id"]: row for row in before.to_pylist()}
    present = {row["doc_id"]: row for row in now.to_pylist()}
    changed = [doc_id for doc_id, row in rows.items() if present.get(doc_id) != row]
    return changed, [doc_id for doc_id in present if doc_id not in rows]


def only(rows: pa.Table, doc_ids: Sequence[str]) -> pa.Table:
    """Return the rows of these documents."""
    return rows.filter(pc.is_in(rows["doc_id"], value_set=pa.array(doc_ids, pa.string())))
