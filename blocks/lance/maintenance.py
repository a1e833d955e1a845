"""Upkeep of the tables: few files, indices as the size asks for, old versions and left-over files gone.

Whether there is anything to do is read from the tables' own statistics, which costs milliseconds, so it
may be asked after every run. The work itself, which takes memory (LanceDB's compaction has no setting for
it; measured: 0.5 GB above the rest at 100,000 rows of 768 floats, 0.9 GB at 400,000), is done by a process
of its own, which is killed if it takes more than it may; that leaves the tables whole.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Final, Self

from prefect_ollama.blocks.awaited import Awaitable
from prefect_ollama.blocks.child_processes import start_tied
from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance import _migration as migration
from prefect_ollama.blocks.lance.commits import connect, files_of, missing_table, open_table, open_tables
from prefect_ollama.blocks.lance.spec import StoreSpec
from prefect_ollama.blocks.secrets import hidden

KEEP: Final = timedelta(days=7)
MEMORY: Final = 4 * 2**30
TIMEOUT: Final = 3600.0

SMALL_FILES: Final = 32
INDEX_OF_WORDS: Final[dict[str, Any]] = {
    "base_tokenizer": "whitespace",
    "max_token_length": None,
    "lower_case": False,
    "ascii_folding": False,
    "remove_stop_words": False,
    "stem": True,
}
"""Options of the index over `words`, where `words.indexed_words` has decided all but the endings."""
INDEXED: Final = ("doc_id", "text_hash", "words")
"""Columns that have an index in a table of any size."""
# A search by words reads each row that is not indexed: 0.07 ms a row of 120 words.
UNINDEXED_ROWS: Final = 1_000
UNINDEXED_SHARE: Final = 0.02
# Below, a search by vector without an index takes 20 to 80 ms, and is exact.
VECTOR_INDEX_ROWS: Final = 20_000
# An index learns its partitions from the rows there are; of a table four times as large it knows too little.
RETRAIN_GROWTH: Final = 4
CELLS_OF_ROOT: Final = 0.64
"""Cells of the index over vectors, by the square root of the rows: 91 at 20,000, 202 at 100,000, 640 at a million. With
more of them as much is found in fewer rows, and they take longer to learn."""
# Rows for each cell to learn from: four times as many cost half as much again and find no more.
TRAINING_ROWS: Final = 64
TRAINING_BYTES: Final = 256 * 2**20
LEFT_OVER: Final = timedelta(hours=1)
TEMPORARY: Final = re.compile(r"^\.tmp|#\d+$")
"""Names of files that a writer has not finished, at any place in a table's folder."""
_LOOK_EVERY: Final = 0.05


@dataclass(frozen=True, slots=True)
class Maintenance(Awaitable):
    """What upkeep did.

    Attributes:
        done: What was done and why, a sentence each; empty when nothing was due.
        left_over_files: Temporary files of killed writers that were deleted.
        seconds: How long it took.
        peak_bytes: Most memory that the process which did it had, 0 where none was started.
    """

    done: tuple[str, ...]
    left_over_files: int
    seconds: float
    peak_bytes: int


class MaintenanceProcess:
    """The process that does upkeep, one order of it; leaving this as a context manager ends the process.

    Loading LanceDB takes it two seconds, in which whoever starts it ahead can do other things.
    """

    def __init__(self) -> None:
        self._child: subprocess.Popen[str] | None = None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None
        self._open.close()

    def start(self) -> None:
        """Start the process, if it has not been."""
        if self._child is None:
            self._said = self._open.enter_context(TemporaryFile("w+"))  # noqa: SIM115
            self._complained = self._open.enter_context(TemporaryFile("w+"))  # noqa: SIM115
            # -P: nothing in the user's working folder can stand in for a module.
            command = [sys.executable, "-P", "-m", "prefect_ollama.blocks.lance.maintenance_process"]
            self._child = start_tied(
                command, stdin=subprocess.PIPE, stdout=self._said, stderr=self._complained, text=True
            )
            self._open.enter_context(self._child)

    def run(self, order: str, spec: StoreSpec, memory: int, deadline: float) -> tuple[list[str], int]:
        """Have the order carried out.

        Returns:
            What was done, and the most memory that the process had, in bytes.

        Raises:
            TableError: It failed, or took too much memory or time and was killed.
        """
        self.start()
        child = self._child
        assert child is not None
        assert child.stdin is not None
        peak, why = 0, ""
        with suppress(BrokenPipeError):  # it has ended, and has said why
            child.stdin.write(order)
            child.stdin.close()
        while child.poll() is None:
            peak = max(peak, _memory_of(child.pid))
            if peak > memory:
                why = f"took more than {memory / 2**20:.0f} MiB of memory"
            elif time.monotonic() > deadline:
                why = "took longer than it was given"
            if why:
                child.kill()
            with suppress(subprocess.TimeoutExpired):
                child.wait(_LOOK_EVERY)
        if child.returncode == 0:
            self._said.seek(0)
            return json.loads(self._said.read().splitlines()[-1])["done"], peak
        self._complained.seek(0)
        lines = hidden(self._complained.read()).strip().splitlines()
        raise TableError(
            f"Upkeep of table {spec.table!r} {why or f'failed: {lines[-1] if lines else child.returncode}'}"
            f"{' and was stopped.' if why else ''}",
            state="The table is whole; steps that were done stay done.",
            remedy="Give it more of that; until it is done, searches are slower."
            if why
            else "Run it again when no other process writes to the table.",
        )


def maintain(
    spec: StoreSpec,
    *,
    force: bool = False,
    keep: timedelta = KEEP,
    memory: int = MEMORY,
    timeout: float = TIMEOUT,
    maintenance_process: MaintenanceProcess | None = None,
) -> Maintenance:
    """Do what is due.

    Args:
        spec: The table.
        force: Do all of it, due or not.
        keep: How long versions are kept; runs older than this cannot be rolled back afterwards.
        memory: Most bytes of memory it may take (seen to on Linux only).
        timeout: Seconds after which it is stopped.
        housekeeper: The process that is to do it, where one may have been started ahead.

    Raises:
        TableMissing: There is no such table.
        TableError: It needed more memory or time than it was given, or the table cannot be written. The
            table is as it was, or as far better as the steps that were done.
    """
    began = time.monotonic()
    if open_tables(spec) is None:
        raise missing_table(spec)
    files = delete_left_over_files(spec)
    reasons = ["it was asked for"] if force else due(spec)
    if not reasons:
        return Maintenance((), files, time.monotonic() - began, 0)
    order = {
        "uri": spec.uri,
        "table": spec.table,
        "storage_options": spec.options,
        "keep": keep.total_seconds(),
        "force": force,
    }
    with maintenance_process or MaintenanceProcess() as keeper:
        steps, peak = keeper.run(json.dumps(order), spec, memory, began + timeout)
    done = tuple(f"{step} ({'; '.join(reasons)})" for step in steps)
    return Maintenance(done, files, time.monotonic() - began, peak)


def due(spec: StoreSpec) -> list[str]:
    """Return why upkeep is due, a phrase for each reason; empty if it is not."""
    connection = connect(spec)
    reasons = []
    for name in (spec.table, spec.documents_table, spec.runs_table):
        table = open_table(connection, spec, name)
        if table is not None:
            small = files_of(table).small
            if small >= SMALL_FILES:
                reasons.append(f"{name} has {small} small files")
            if name == spec.table:
                reasons += _indices_due(table)
    if migration.outdated(connection, spec):
        reasons.append("an earlier version of prefect-ollama made the table")
    return reasons


def vector_index(table: Any) -> tuple[str, int] | None:
    """Return the name of the index over the vectors, and how many rows it learned its cells from."""
    for index in table.list_indices():
        if index.columns == ["vector"]:
            learned = index.name.rpartition("_")[2]
            return index.name, int(learned) if learned.isdigit() else int(index.num_indexed_rows)
    return None


def cells_for(rows: int) -> int:
    """Return how many cells the index over so many vectors has."""
    return max(1, round(CELLS_OF_ROOT * math.sqrt(rows)))


def vector_index_due(table: Any) -> bool:
    """Whether the table has outgrown searching without an index, or the index it has."""
    rows, index = int(table.count_rows()), vector_index(table)
    return rows >= VECTOR_INDEX_ROWS and (index is None or rows >= RETRAIN_GROWTH * index[1])


def ensure_indices(chunks: Any, *, anew: bool = False) -> list[str]:
    """Make the indices that every chunk table has, whatever its size, or all anew; return the columns indexed now.

    Trees over `doc_id`, by which documents are replaced, and `text_hash`, by which a search finds the other places of a
    text; and `words`, anew where the index has other options than `INDEX_OF_WORDS`. There is none over `id`: LanceDB
    would merge through it, and then misses that two writers add one key (see `tables.merge`).
    """
    from lancedb.index import FTS, BTree

    wanted = {"doc_id": BTree(), "text_hash": BTree(), "words": FTS(**INDEX_OF_WORDS)}
    missing = [column for column in wanted if anew or not _has_index(chunks, column)]
    for column in missing:
        chunks.create_index(column, config=wanted[column], replace=True)
    return missing


def _has_index(chunks: Any, column: str) -> bool:
    found = [index for index in chunks.list_indices() if index.columns == [column]]
    if column != "words":
        return bool(found)
    options = [index.index_details or {} for index in found]
    return any(INDEX_OF_WORDS.items() <= each.items() for each in options)


def delete_left_over_files(spec: StoreSpec, older_than: timedelta = LEFT_OVER) -> int:
    """Delete temporary files that killed writers left in the tables' folders; return how many.

    LanceDB writes to `.tmp…`, or to the file's name with `#1` behind it, and renames; its own clean-up passes over
    these.
    """
    if spec.remote:
        return 0
    oldest, deleted = time.time() - older_than.total_seconds(), 0
    for name in (spec.table, spec.documents_table, spec.runs_table):
        for path in Path(spec.uri, f"{name}.lance").rglob("*"):
            try:
                if TEMPORARY.search(path.name) and path.is_file() and path.stat().st_mtime < oldest:
                    path.unlink()
                    deleted += 1
            except FileNotFoundError:
                continue
    return deleted


def _indices_due(table: Any) -> list[str]:
    rows = table.count_rows()
    allowed = max(UNINDEXED_ROWS, int(rows * UNINDEXED_SHARE))
    reasons = [
        f"{index.num_unindexed_rows} rows are not in the index of {', '.join(index.columns)}"
        for index in table.list_indices()
        if index.num_unindexed_rows > allowed
    ]
    if not all(_has_index(table, column) for column in INDEXED):
        reasons.append("an index is missing or has other options")
    if vector_index_due(table):
        reasons.append(f"{rows} vectors ask for a new index")
    return reasons


def _memory_of(pid: int) -> int:
    """Return the memory a process has, in bytes; 0 where the system (not Linux) or the process does not say."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, AttributeError):
        return 0
