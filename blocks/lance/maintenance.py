"""Maintenance of the tables: merges files, builds indices, deletes old versions and left-over files.

The tables' own statistics say whether maintenance is due. Reading them takes milliseconds, so it is done after every
run. A process of its own does the work, and is killed if it uses too much memory, which leaves the tables whole.
LanceDB's compaction has no limit for memory; it took 0.5 GB at 100,000 rows of 768 floats, and 0.9 GB at 400,000.
"""

import json
import re
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final, Self

import psutil

from prefect_ollama.blocks.child_processes import start_tied
from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance import _migration as migration
from prefect_ollama.blocks.lance._damage import failure
from prefect_ollama.blocks.lance._indices import indices_due
from prefect_ollama.blocks.lance.commits import files_of
from prefect_ollama.blocks.lance.opening import connect, missing_table, open_table, open_tables
from prefect_ollama.blocks.lance.spec import StoreSpec
from prefect_ollama.blocks.sync_async import Awaitable

# Defaults. Versions are kept for a week, in which a run can be rolled back. The memory is four times what 400,000
# rows of 768 floats took (see above).
KEEP: Final = timedelta(days=7)
MEMORY_BYTES: Final = 4 * 2**30
TIMEOUT_S: Final = 3600.0

# Small files from which on merging them is due. A query opens each file, and with a thousand commits of ten rows it
# took 235 ms instead of 27 (docs/architecture.md, "Choices and reasons").
SMALL_FILES: Final = 32

# A temporary file of this age has no living writer, whose commits take seconds.
LEFT_OVER: Final = timedelta(hours=1)

# Names of files that a writer has not finished, anywhere in a table's folder.
TEMPORARY: Final = re.compile(r"^\.tmp|#\d+$")

# Seconds between two looks at the memory of the process.
_POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Maintenance(Awaitable):
    """The result of maintenance.

    Attributes:
        done: The steps that were done, each with the reason; empty if nothing was due.
        left_over_files: How many temporary files of killed writers were deleted.
        seconds: How long it took.
        peak_bytes: Peak memory of the process that did it, 0 if none was started.
    """

    done: tuple[str, ...]
    left_over_files: int
    seconds: float
    peak_bytes: int


class MaintenanceProcess:
    """The process that does one maintenance. As a context manager, it ends the process on exit.

    The process needs two seconds to load LanceDB, so a run starts it before its own last steps.
    """

    def __init__(self) -> None:
        self._child: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.kill()
            with self._child:  # closes its pipes and waits
                self._child = None

    def start(self) -> None:
        """Start the process, if it was not started yet."""
        if self._child is None:
            # -P: no file in the user's working folder may be imported in place of a module.
            command = [sys.executable, "-P", "-m", "prefect_ollama.blocks.lance.maintenance_process"]
            pipe = subprocess.PIPE
            self._child = start_tied(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    def run(self, order: str, spec: StoreSpec, memory: int, deadline: float) -> tuple[list[str], int]:
        """Let the process carry out an order.

        Returns:
            The steps that were done, and the peak memory of the process, in bytes.

        Raises:
            TableError: It failed, or took too much memory or time and was killed.
        """
        self.start()
        child = self._child
        assert child is not None
        peak, why, remedy, said, complained = 0, "", "", "", ""
        given: str | None = order
        while child.returncode is None:
            peak = max(peak, _memory_of(child.pid))
            # The peak is measured from outside, because LanceDB allocates without Python.
            if peak > memory:
                why = f"took more than {memory / 2**20:.0f} MiB of memory"
                remedy = "Run `maintain` with more *Memory* (`--memory-mb`)."
            elif time.monotonic() > deadline:
                why = "took longer than it was given"
                remedy = "Run `maintain` again: it does the steps that are left."
            if why:
                child.kill()
            with suppress(subprocess.TimeoutExpired):
                said, complained = child.communicate(given, timeout=_POLL_S)
            given = None  # after a time-out, `communicate` goes on with what it was given first
        if child.returncode == 0:
            return json.loads(said.splitlines()[-1])["done"], peak
        what, state = (
            f"Maintenance of table {spec.table!r}",
            "The table is whole; steps that were done stay done.",
        )
        if why:
            state += " Until all are done, searches are slower."
            raise TableError(f"{what} {why} and was stopped.", state=state, remedy=remedy)
        lines = complained.strip().splitlines() or [f"exit status {child.returncode}"]
        # The last line of a traceback, without the type of the error.
        error = RuntimeError(re.sub(r"^[\w.]+: ", "", lines[-1]))
        remedy = (
            "Run it again when no other process writes to the table. If it still fails, run `maintain` with *Force* "
            "(`--force`), which builds the indices again."
        )
        raise failure(f"{what} failed", error, spec, state=state, remedy=remedy)


def maintain(
    spec: StoreSpec,
    *,
    force: bool = False,
    keep: timedelta = KEEP,
    memory: int = MEMORY_BYTES,
    timeout: float = TIMEOUT_S,
    maintenance_process: MaintenanceProcess | None = None,
) -> Maintenance:
    """Run the maintenance that the table needs.

    Args:
        spec: The table.
        force: Do all of it, even if it is not due.
        keep: How long versions are kept; runs older than this cannot be rolled back afterwards.
        memory: Maximum bytes of memory that it may use.
        timeout: Seconds after which it is stopped.
        maintenance_process: The process to use, if one was prepared before.

    Raises:
        TableMissing: The table does not exist.
        TableError: It needed more memory or time than allowed, or the table cannot be written. Steps that were done
            stay done; the table is whole.
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
    """Return the reasons why maintenance is due, a phrase for each; empty if it is not due."""
    connection = connect(spec)
    reasons = []
    for name in spec.tables:
        table = open_table(connection, spec, name)
        if table is not None:
            small = files_of(table).small
            if small >= SMALL_FILES:
                reasons.append(f"{name} has {small} small files")
            if name == spec.table:
                reasons += indices_due(table)
    if migration.outdated(connection, spec):
        reasons.append("an earlier version of prefect-ollama made the table")
    return reasons


def delete_left_over_files(spec: StoreSpec, older_than: timedelta = LEFT_OVER) -> int:
    """Delete temporary files that killed writers left in the tables' folders, and return how many.

    LanceDB writes to `.tmp…`, or to the file's name followed by `#1`, and renames the file. LanceDB's own clean-up does
    not delete such files.
    """
    if spec.remote:
        return 0
    oldest, deleted = time.time() - older_than.total_seconds(), 0
    for name in spec.tables:
        for path in Path(spec.uri, f"{name}.lance").rglob("*"):
            try:
                if TEMPORARY.search(path.name) and path.is_file() and path.stat().st_mtime < oldest:
                    path.unlink()
                    deleted += 1
            # Its writer has renamed it, or another process has deleted it.
            except FileNotFoundError:
                continue
    return deleted


def _memory_of(pid: int) -> int:
    """Return the memory of a process in bytes; 0 if it has ended or the system does not say."""
    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return 0
