"""Rolling back: the documents of a run's source become what they were before the run.

Documents of other sources, and what other runs did to them meanwhile, stay. The rows come back as they
were, vectors and times included, whole documents at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from prefect_ollama.blocks.documents import RUN_ROLLED_BACK, RUN_RUNNING, Run
from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance._runs import overlapping

UNCHANGED = "Nothing was rolled back."


KIND = "roll back"


@dataclass(frozen=True, slots=True)
class Undo:
    """What a roll back would do.

    Attributes:
        table: Where the table is.
        runs: The runs that it undoes.
        source: Their source, empty for a swap.
        restored: Documents that become what they were.
        removed: Documents that were not there before.
        swap: Whether it puts back a whole table, from before it was embedded anew.
        chunks_now: Chunks in the table.
        chunks_then: Chunks that it had, of a swap.
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
    """Return the runs that rolling back this one undoes: it, and the later ones of its source.

    Raises:
        TableError: It is rolled back already or is a roll back, a run of its source is open, or later ones
            exist and were not asked for.
    """
    if target.status == RUN_ROLLED_BACK or target.kind == KIND:
        what = "is rolled back already" if target.kind != KIND else "is a roll back itself"
        raise TableError(
            f"Run {target.run_id!r} {what}.",
            state=UNCHANGED,
            remedy="To have back what was rolled back, ingest again; what was embedded is in the cache.",
        )
    same = [run for run in log if run.source == target.source and run.run_id != target.run_id]
    unended = [run.run_id for run in [target, *same] if run.status == RUN_RUNNING]
    if unended:
        raise TableError(
            f"Run {unended[0]!r} over {target.source!r} is still open.",
            state=UNCHANGED,
            remedy="Wait for its end, or stop it.",
        )
    later = [run for run in overlapping(target, same) if run.status != RUN_ROLLED_BACK and run.kind != KIND]
    if later and not including_later:
        listed = ", ".join(repr(run.run_id) for run in later)
        raise TableError(
            f"Later runs over {target.source!r} stand on run {target.run_id!r}: {listed}.",
            state=UNCHANGED,
            remedy="Roll those back first, the latest before the others, or all at once with "
            "`including_later`.",
        )
    return [target, *later]


def differing(before: pa.Table, now: pa.Table) -> tuple[list[str], list[str]]:
    """Compare two states of a source's manifest.

    Returns:
        The documents whose row was another before, and those that had none.
    """
    rows = {row["doc_id"]: row for row in before.to_pylist()}
    present = {row["doc_id"]: row for row in now.to_pylist()}
    changed = [doc_id for doc_id, row in rows.items() if present.get(doc_id) != row]
    return changed, [doc_id for doc_id in present if doc_id not in rows]


def only(rows: pa.Table, doc_ids: Sequence[str]) -> pa.Table:
    """Return the rows of these documents."""
    return rows.filter(pc.is_in(rows["doc_id"], value_set=pa.array(doc_ids, pa.string())))
