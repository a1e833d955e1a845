"""Open the three Lance tables of a store, read them at their latest version, and commit to them.

A commit that conflicts with another writer's is tried again, a bounded number of times. LanceDB is imported only when a
table is opened, because its threads do not survive a fork: a process that has opened a table must not fork.
"""

from __future__ import annotations

import errno
import os
import random
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Final, ParamSpec, Self, TypeVar

import pyarrow as pa

from prefect_ollama.blocks.errors import TableError, TableMissing
from prefect_ollama.blocks.lance import _driver as driver
from prefect_ollama.blocks.lance._damage import (
    MAX_NAMES,
    UNCHANGED,
    explained,
    failure,
    first_names,
    refuse_incomplete,
)
from prefect_ollama.blocks.lance._schema import DOCUMENTS_VERSION, RUNS_VERSION, refuse_newer, stored_identity
from prefect_ollama.blocks.lance.spec import RESERVED, StoreSpec
from prefect_ollama.blocks.private_files import close_as_parent, make_folder
from prefect_ollama.blocks.secrets import safe_cause

P = ParamSpec("P")
T = TypeVar("T")

# How often a commit is tried. The waits between add up to some 6 s (`pause`), in which many other writers commit.
ATTEMPTS: Final = 10

_CHECK_STORE: Final = (
    "Check the URI, and the credentials (storage options, or AWS_… variables) with their rights."
)
_OTHER_FOLDER: Final = "Check the path and the rights on it, or choose another folder."

# Words in the messages of LanceDB 0.40 when another writer was first. LanceDB has no type or code for this error.
_LOST: Final = ("conflict", "concurrent", "contention", "timed out", "already exists", "not found")


def connect(spec: StoreSpec, *, fixed: bool = False) -> Any:
    """Return a LanceDB connection whose reads see every commit made before them.

    Args:
        fixed: Whether each table stays at the version that was the latest when it was opened.

    A folder that does not exist is made closed to other users, which LanceDB would not do. The rights of an existing
    folder stay, because its owner may share it.

    Raises:
        TableError: The place cannot be reached.
    """
    lancedb = driver.load()
    try:
        if not spec.remote:
            if Path(spec.uri).is_file():
                raise TableError(
                    f"{spec.uri!r} is a file, and no folder that could hold tables.",
                    state=UNCHANGED,
                    remedy="Give the folder of the database.",
                )
            make_folder(Path(spec.uri))
        return lancedb.connect(
            spec.uri,
            storage_options=spec.options or None,
            read_consistency_interval=None if fixed else timedelta(0),
        )
    except TableError:
        raise
    except Exception as error:
        remedy = _CHECK_STORE if spec.remote else _OTHER_FOLDER
        raise failure(f"{spec.uri!r} cannot be opened", error, spec, remedy=remedy) from safe_cause(error)


def refuse_unwritable(spec: StoreSpec) -> None:
    """Refuse a folder in which no table can be made. What is made to find out is gone afterwards.

    Raises:
        TableError: The folder, or the nearest one above it, takes no new folder.
    """
    if spec.remote:
        return
    try:
        # Tried, because rights alone do not show a read-only or a virtual file system.
        above = next(each for each in (Path(spec.uri), *Path(spec.uri).parents) if each.exists())
        with tempfile.TemporaryDirectory(prefix=".", dir=above):
            return
    except OSError as error:
        # Without the table, which is not there yet and so cannot be damaged.
        known = spec if isinstance(error, PermissionError) else None
        raise failure(f"{spec.uri!r} cannot be made", error, known, remedy=_OTHER_FOLDER) from error


def open_table(connection: Any, spec: StoreSpec, name: str) -> Any | None:
    """Return the table of this name; None if it does not exist."""
    try:
        return connection.open_table(name)
    except Exception as error:
        if isinstance(error, (ValueError, FileNotFoundError)) and "not found" in str(error).lower():
            return None
        what = f"Table {name!r} in {spec.uri!r} cannot be opened"
        raise failure(what, error, spec, remedy="Check the storage options.") from safe_cause(error)


def open_tables(spec: StoreSpec) -> tuple[Any, Any, Any] | None:
    """Return the chunk table, the manifest and the log of runs; None if there is no such table (yet).

    Raises:
        TableDamaged: A part of it is lost or cannot be read.
        TableError: The place cannot be reached or read; or the table is not one of this project, or a later version
            wrote it.
    """
    if not spec.remote:
        # Checked here, so that the error names the folder.
        for folder in (spec.uri, *(f"{spec.uri}/{name}.lance/_versions" for name in spec.tables)):
            with explained(spec, f"{folder!r} cannot be read"):
                there = Path(folder).is_dir()
                if there and not os.access(folder, os.R_OK | os.X_OK):
                    raise PermissionError(errno.EACCES, "Permission denied", folder)
            if folder == spec.uri and not there:  # connecting would create the folder
                return None
    connection = connect(spec)
    chunks, documents, runs = (open_table(connection, spec, name) for name in spec.tables)
    if chunks is not None:
        stored_identity(chunks.schema, spec.table)
    for table, known in ((documents, DOCUMENTS_VERSION), (runs, RUNS_VERSION)):
        if table is not None:
            refuse_newer(table.schema, known, table.name)
    refuse_incomplete(spec, chunks, documents, runs)
    return None if chunks is None or documents is None or runs is None else (chunks, documents, runs)


def missing_table(spec: StoreSpec) -> TableMissing:
    """Return the error for a table that does not exist, which names the tables that do."""
    found = "No table is there. Check the URI and the name"
    if not spec.remote and not Path(spec.uri).is_dir():  # connecting would create the folder
        what = "is a file" if Path(spec.uri).exists() else "is not there"
        found = f"The folder {what}. Check the URI and the name"
    elif there := sorted(n for n in connect(spec).list_tables(limit=10_000).tables if RESERVED not in n):
        near = get_close_matches(spec.table, there, MAX_NAMES) or there
        found = f"Tables there: {first_names(near)}. Check the name"
    return TableMissing(
        f"There is no table {spec.table!r} in {spec.uri!r}.",
        remedy=f"{found}, or ingest something into it first.",
    )


def create_table(connection: Any, spec: StoreSpec, name: str, schema: pa.Schema) -> Any:
    """Return the table of this name; create it if it does not exist. Two processes may do this at once."""

    def make() -> Any:
        existing = open_table(connection, spec, name)
        if existing is not None:
            return existing
        made = connection.create_table(name, schema=schema)
        if not spec.remote:
            # LanceDB leaves the rights to the umask, which the command line narrows and other processes do not.
            with suppress(OSError):  # another process of another user made it
                close_as_parent(Path(spec.uri, f"{name}.lance"))
        return made

    return commit(f"Table {name!r} cannot be made", make, spec)


def drop(spec: StoreSpec) -> None:
    """Drop the tables of a store that exist."""
    connection = connect(spec)
    for name in spec.tables:
        connection.drop_table(name, ignore_missing=True)


def commit(what: str, action: Callable[[], T], spec: StoreSpec | None = None) -> T:
    """Run an action that commits, and run it again if it conflicts with another writer.

    Args:
        what: Beginning of the error if it fails ("Table 'x' cannot be made").
        action: The action; it must be safe to repeat.
        spec: The table, for details in an error.

    Raises:
        TableError: It failed too often, or for a reason that does not go away by trying again.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return action()
        except TableError:
            raise
        except Exception as error:
            lost = any(word in str(error).lower() for word in _LOST)
            if not lost or attempt == ATTEMPTS:
                state = "Earlier commits stay; nothing of this step was committed."
                remedy = "Run it again; it goes on from there."
                if not lost:
                    remedy = "Check free space, the rights on the table and the storage options, then run it again."
                raise failure(what, error, spec, state=state, remedy=remedy) from safe_cause(error)
            pause(attempt)
    raise AssertionError("unreachable")


def pause(attempt: int) -> None:
    """Wait before the next attempt: longer each time, at most 2 s, and with jitter, so that two writers get apart."""
    time.sleep(random.uniform(0.5, 1.0) * min(2.0, 0.02 * 2**attempt))


def merge(table: Any, key: str, rows: pa.Table) -> Any:
    """Commit rows in one step: rows whose key exists are replaced, others are added.

    The index of the key is not used: with it LanceDB does not notice that another writer adds the same keys at the same
    time, and both rows stay (https://github.com/lance-format/lance/pull/9238).
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
    """The files of a table: their number, how many are small, and their bytes with those of the indices."""

    count: int
    small: int
    data_bytes: int


def files_of(table: Any) -> Files:
    """Return the numbers and sizes of a table's files, from its own statistics."""
    stats = table.stats()  # a dict, although its annotation is another type (LanceDB 0.40)
    fragments = stats["fragment_stats"]
    return Files(fragments["num_fragments"], fragments["num_small_fragments"], stats["total_bytes"])


class VersionedTable:
    """One table of a store: its versions, and commits whose errors name it."""

    # What errors call the table, with the name of the store's chunk table for `{}`.
    called: ClassVar[str] = "table {}"

    def __init__(self, spec: StoreSpec, table: Any) -> None:
        self.table = table
        self._spec = spec
        self._called = self.called.format(repr(spec.table))

    @property
    def version(self) -> int:
        """The latest version, or the one this is `at`."""
        return int(self.table.version)

    def at(self, version: int) -> Self:
        """Return the table as it was at a version; `TableError` if the version is not kept any more."""
        table = open_table(connect(self._spec), self._spec, self.table.name)
        try:
            assert table is not None
            table.checkout(version)
        except (AssertionError, ValueError, RuntimeError, OSError) as error:
            raise TableError(
                f"Version {version} of {self._called} is not kept any more.",
                state=UNCHANGED,
                remedy="Maintenance deletes old versions after seven days, or as many as its option 'keep' says.",
            ) from error
        return type(self)(self._spec, table)

    def restore(self, version: int) -> None:
        """Make a version the latest one again."""
        self._commit(self.table.restore, version)

    def _commit(self, action: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        what = f"{self._called[0].upper()}{self._called[1:]} cannot be written"
        return commit(what, lambda: action(*args, **kwargs), self._spec)
