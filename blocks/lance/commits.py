"""Commits to the three Lance tables of a store, and their versions.

A commit that conflicts with another writer's is tried again, a bounded number of times.
"""

import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, ParamSpec, Self, TypeVar

import pyarrow as pa

from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance._damage import UNCHANGED, failure
from prefect_ollama.blocks.lance._failure_kind import kind_of
from prefect_ollama.blocks.lance.opening import connect, open_table
from prefect_ollama.blocks.lance.spec import StoreSpec
from prefect_ollama.blocks.private_files import close_as_parent
from prefect_ollama.blocks.secrets import safe_cause

P = ParamSpec("P")
T = TypeVar("T")

# How often a commit is tried. The waits between add up to some 6 s (`pause`), in which many other writers commit.
ATTEMPTS: Final = 10

# Words in the messages of LanceDB 0.40 when another writer was first. LanceDB has no type or code for this error.
_LOST: Final = ("conflict", "concurrent", "contention", "timed out", "already exists", "not found")


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
            # The text may also name a folder, which may hold any of these words.
            text = str(error).lower() if kind_of(error) in ("other", "damaged") else ""
            lost = any(word in text for word in _LOST)
            if not lost or attempt == ATTEMPTS:
                state = "Earlier commits stay; nothing of this step was committed."
                remedy = "Run it again; it continues from there."
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
                remedy="Maintenance deletes old versions after seven days, or as many as *Keep* (`--keep-days`) says.",
            ) from error
        return type(self)(self._spec, table)

    def restore(self, version: int) -> None:
        """Make a version the latest one again."""
        self._commit(self.table.restore, version)

    def _commit(self, action: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        what = f"{self._called[0].upper()}{self._called[1:]} cannot be written"
        return commit(what, lambda: action(*args, **kwargs), self._spec)
