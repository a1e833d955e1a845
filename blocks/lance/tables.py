"""The three Lance tables of a store, opened, read at their latest version, and committed to.

A commit that lost against another writer's is tried again, a bounded number of times. LanceDB is imported
when a table is opened and not before, because its threads do not survive a fork: a process that has opened a
table must not fork.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import pyarrow as pa

from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance.spec import StoreSpec
from prefect_ollama.blocks.sealed import harmless, hidden

T = TypeVar("T")

ATTEMPTS: Final = 10
CLOCK_STEP: Final = 60.0
"""Seconds by which a clock that is set meanwhile may seem to move the beginning of a process."""
_LOST: Final = ("conflict", "concurrent", "contention", "timed out", "already exists", "not found")


def connect(spec: StoreSpec) -> Any:
    """Return a LanceDB connection whose reads see every commit made before them.

    Raises:
        TableError: The place cannot be reached.
    """
    import lancedb

    try:
        return lancedb.connect(
            spec.uri,
            storage_options=spec.options or None,
            read_consistency_interval=timedelta(0),
        )
    except Exception as error:
        raise TableError(
            f"{spec.uri!r} cannot be opened: {short(error)}.",
            remedy="Check the URI, the rights on it and the storage options.",
        ) from harmless(error)


def open_table(connection: Any, spec: StoreSpec, name: str) -> Any | None:
    """Return the table of this name, or None where there is none."""
    try:
        return connection.open_table(name)
    except Exception as error:
        if isinstance(error, (ValueError, FileNotFoundError)) and "not found" in str(error).lower():
            return None
        raise TableError(
            f"Table {name!r} in {spec.uri!r} cannot be opened: {short(error)}.",
            remedy="Check the rights on it and the storage options.",
        ) from harmless(error)


def create_table(connection: Any, spec: StoreSpec, name: str, schema: pa.Schema) -> Any:
    """Return the table of this name, made if there is none. Two processes may do this at once."""

    def make() -> Any:
        existing = open_table(connection, spec, name)
        return existing if existing is not None else connection.create_table(name, schema=schema)

    return commit(f"Table {name!r} cannot be made", make)


def commit(failure: str, action: Callable[[], T]) -> T:
    """Run an action that commits; run it again when it lost against another writer.

    Args:
        failure: How the error begins if it fails for good ("Table 'x' cannot be made").
        action: What to do; it must be safe to repeat.

    Raises:
        TableError: It failed for a reason that another attempt does not mend, or too often.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return action()
        except TableError:
            raise
        except Exception as error:
            lost = any(word in str(error).lower() for word in _LOST)
            if not lost or attempt == ATTEMPTS:
                raise TableError(
                    f"{failure}: {short(error)}.",
                    state="What was committed before stays; of this step nothing was.",
                    remedy="Run it again; it goes on from there."
                    if lost
                    else "Check free space, the rights on the table and the storage options, then run it again.",
                ) from harmless(error)
            pause(attempt)
    raise AssertionError("unreachable")


def pause(attempt: int) -> None:
    """Wait before the next attempt: longer each time, at most 2 s, and never as long as another writer does."""
    time.sleep(random.uniform(0.5, 1.0) * min(2.0, 0.02 * 2**attempt))


def merge(table: Any, key: str, rows: pa.Table) -> Any:
    """Commit rows in one step: a row whose key is there is replaced, another is added.

    Not through the index of the key: with it LanceDB does not notice that another writer adds the same
    keys at the same time, and both rows stay (https://github.com/lance-format/lance/pull/9238).
    """
    return (
        table.merge_insert(key)
        .when_matched_update_all()
        .when_not_matched_insert_all()
        .use_index(False)
        .execute(rows)
    )


@dataclass(frozen=True, slots=True)
class Files:
    """What a table's rows are in: files, those of them that are small, and their size with the indices'."""

    count: int
    small: int
    data_bytes: int


def files_of(table: Any) -> Files:
    """Return the figures of a table's files, from its own statistics."""
    stats = table.stats()  # a dict, whatever its annotation says (LanceDB 0.40)
    fragments = stats["fragment_stats"]
    return Files(fragments["num_fragments"], fragments["num_small_fragments"], stats["total_bytes"])


def alive(host: str, pid: int, this_host: str, since: datetime) -> bool:
    """Whether a process that was there at a time may still run; that of another host always may.

    After the machine, or a container, has started again, another process may have its id; it is younger.
    """
    if host != this_host:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    began = _process_began(pid)
    return began is None or began < since.timestamp() + CLOCK_STEP


def _process_began(pid: int) -> float | None:
    """When a process began, in seconds since 1970; None where the system (not Linux) or the process does not say."""
    try:
        booted = next(
            float(line.split()[1])
            for line in Path("/proc/stat").read_text().splitlines()
            if line.startswith("btime")
        )
        ticks = float(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        return booted + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, StopIteration, AttributeError):
        return None


def short(error: BaseException) -> str:
    """What an error says, in one line of bounded length and without secrets.

    The object store's client words its errors itself, and some repeat the request.
    """
    text = hidden(" ".join(str(error).split())) or type(error).__name__
    return text if len(text) <= 300 else text[:299] + "…"
