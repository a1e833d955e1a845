"""Upkeep of the tables: few files, indices as the size asks for, old versions and left-over files gone.

Whether there is anything to do is read from the tables' own statistics, which costs milliseconds, so it
may be asked after every run. The work itself, which takes memory (LanceDB's compaction has no setting for
it; measured: 0.5 GB above the rest at 100,000 rows of 768 floats, 0.9 GB at 400,000), is done by a process
of its own, which is killed if it takes more than it may; that leaves the tables whole.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final, Self

import psutil

from prefect_ollama.blocks.awaited import Awaitable
from prefect_ollama.blocks.child_processes import start_tied
from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance import _migration as migration
from prefect_ollama.blocks.lance._indices import indices_due
from prefect_ollama.blocks.lance.commits import connect, files_of, missing_table, open_table, open_tables
from prefect_ollama.blocks.lance.spec import StoreSpec
from prefect_ollama.blocks.secrets import hidden

KEEP: Final = timedelta(days=7)
MEMORY: Final = 4 * 2**30
TIMEOUT: Final = 3600.0

SMALL_FILES: Final = 32
LEFT_OVER: Final = timedelta(hours=1)

# Names of files that a writer has not finished, at any place in a table's folder.
TEMPORARY: Final = re.compile(r"^\.tmp|#\d+$")

_LOOK_EVERY: Final = 0.05


@dataclass(frozen=True, slots=True)
class Maintenance(Awaitable):
    """What maintenance did.

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
    """The process that does one maintenance; leaving this as a context manager ends the process.

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
    """Run the maintenance that the table needs.

    Args:
        spec: The table.
        force: Do all of it, due or not.
        keep: How long versions are kept; runs older than this cannot be rolled back afterwards.
        memory: Most bytes of memory it may take (seen to on Linux only).
        timeout: Seconds after which it is stopped.
        maintenance_process: The process that is to do it, where one may have been started ahead.

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
    """Return why maintenance is due, a phrase for each reason; empty if it is not."""
    connection = connect(spec)
    reasons = []
    for name in (spec.table, spec.documents_table, spec.runs_table):
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


def _memory_of(pid: int) -> int:
    """Return the memory a process has, in bytes; 0 where the system or the process does not say."""
    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return 0
