"""The SQLite file of a cache: opens it for this user only, runs transactions, and sets a damaged file aside.

Several processes use the file at once. SQLite's locks keep their transactions apart, and its rollback journal undoes
the transaction of a process that was killed. A write-ahead log is not used: it needs memory that all processes share,
so it fails on a network file system, and it writes every vector twice
(https://www.sqlite.org/wal.html, https://www.sqlite.org/howtocorrupt.html).
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Final, TypeVar

from filelock import FileLock

from prefect_ollama.blocks.cache import _sql
from prefect_ollama.blocks.cache._folder import DAMAGED, Folder
from prefect_ollama.blocks.errors import CacheError
from prefect_ollama.blocks.private_files import FILE_MODE, OTHERS, WRITING, is_ours, private_lock

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Names of the database, of the journal that SQLite writes beside it, and of the file of `files_lock`.
NAME: Final = "vectors.sqlite"
JOURNAL: Final = f"{NAME}-journal"
LOCK: Final = "vectors.lock"

# Seconds that a transaction waits for those of other processes. Each transaction takes milliseconds and some syncs of
# the disk, but many processes may wait.
BUSY_TIMEOUT_S: Final = 60.0

# How often a transaction starts again because the file was removed or set aside meanwhile. More than once shows that
# another program writes to the folder, or that the disk fails.
ATTEMPTS: Final = 5

# Primary error codes (https://www.sqlite.org/rescode.html) that do not concern the file's content; the others mean
# that it is damaged.
_ENVIRONMENT: Final = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOLFS,
        sqlite3.SQLITE_AUTH,
    }
)

# Held while a file is created and opened: closing any descriptor gives up all locks of this process on the file (fcntl,
# https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_).
_opening = threading.Lock()

# Connections that a fork copied. Connections of the parent stay open, because closing one could roll back a transaction
# of the parent.
_abandoned: list[sqlite3.Connection] = []

_databases: weakref.WeakSet[Database] = weakref.WeakSet()


def _after_fork() -> None:
    global _opening
    _opening = threading.Lock()
    for database in list(_databases):
        database.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Database:
    """The file of one cache, as one process uses it. Threads may share it; their transactions take turns.

    `rescue` is called with a damaged file that was set aside, and with the cause, after its place became free. `lock`
    is held during a transaction.
    """

    def __init__(self, folder: Folder, rescue: Callable[[Path, str], None]) -> None:
        self._folder = folder
        self._rescue = rescue
        self._path = folder.path(NAME)
        self.lock = threading.RLock()
        self._files: FileLock | None = None
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        _databases.add(self)

    def abandon(self) -> None:
        """Forget the connection and the lock, which a fork copied."""
        if self._connection is not None:
            _abandoned.append(self._connection)
        self.lock, self._files, self._connection = threading.RLock(), None, None

    def files_lock(self) -> FileLock:
        """Return the lock to hold while files of the folder are converted, renamed or removed."""
        with self.lock:
            if self._files is None:
                try:
                    self._files = private_lock(self._folder.path(LOCK))
                except OSError as error:
                    raise self._folder.error("locking it", error) from error
            return self._files

    def run(self, work: Callable[[sqlite3.Connection], T], *, write: bool, wait: bool = True) -> T | None:
        """Run a transaction, and return its result; what it wrote is on disk then. None if there is no file to read.

        Args:
            work: The transaction; it is called again if the file was removed or damaged.
            write: Whether it writes; then the file is created if there is none.
            wait: Whether to wait for transactions of other processes; otherwise it fails at once.

        Raises:
            CacheError: The file cannot be opened, read or written; nothing was changed.
        """
        with self.lock:
            for _ in range(ATTEMPTS):
                try:
                    connection = self._open(create=write)
                    if connection is None:
                        return None
                    connection.execute(f"PRAGMA busy_timeout = {int(1e3 * BUSY_TIMEOUT_S) if wait else 0}")
                    # IMMEDIATE takes the write lock at once. A read lock that becomes a write lock fails when another
                    # process does the same, and `busy_timeout` does not help
                    # (https://www.sqlite.org/lang_transaction.html).
                    connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                    result = work(connection)
                    connection.execute("COMMIT")
                    return result
                except (sqlite3.DatabaseError, _sql.DamageError, OverflowError) as error:
                    cause: Exception = error
                    self._recover(error)
                except OSError as error:
                    raise self._folder.error("opening it", error) from error
                finally:
                    if self._connection is not None and self._connection.in_transaction:
                        with suppress(sqlite3.Error):
                            self._connection.execute("ROLLBACK")
        raise CacheError(
            f"its database was damaged or removed {ATTEMPTS} times in a row ({cause}).",
            folder=self._folder.spec.folder,
            state="Vectors that it does not hold are embedded again.",
            remedy="Check whether other programs write to the folder.",
        ) from cause

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()  # which rolls back
        self._connection = self._identity = None

    def _open(self, *, create: bool) -> sqlite3.Connection | None:
        if self._connection is not None:
            if self._identity == _identity(self._path):
                return self._connection
            self._close()  # another process removed the file or set it aside
        if not create and not self._folder.is_there():
            return None
        self._folder.make()
        with _opening:
            self._keep_own_files_only()
            if not self._path.exists():
                if not create:
                    return None
                # SQLite gives the journal the mode of the database.
                self._path.touch(FILE_MODE)
            identity = _identity(self._path)
            connection = sqlite3.connect(
                f"{self._path.as_uri()}?mode=rw",
                uri=True,
                timeout=BUSY_TIMEOUT_S,
                isolation_level=None,
                check_same_thread=False,
            )
        try:
            _sql.prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._connection, self._identity = connection, identity
        return connection

    def _keep_own_files_only(self) -> None:
        """Remove a database or journal that another user wrote or could write: its vectors may be forged."""
        for path in (self._path, self._folder.path(JOURNAL)):
            try:
                found = path.lstat()
            except FileNotFoundError:
                continue
            if not is_ours(found) or (os.name == "posix" and found.st_mode & WRITING):
                logger.warning("%s belongs to another user or can be written by others. It is removed.", path)
                path.unlink(missing_ok=True)
            elif os.name == "posix" and found.st_mode & OTHERS:
                path.chmod(FILE_MODE)

    def _recover(self, error: Exception) -> None:
        """Prepare the next attempt, or raise an error if a further attempt cannot help."""
        code = getattr(error, "sqlite_errorcode", None)
        if isinstance(error, sqlite3.DatabaseError) and code is None:
            raise error  # a mistake of this program
        primary = None if code is None else code & 0xFF
        damaged = primary not in _ENVIRONMENT
        if primary == sqlite3.SQLITE_READONLY:
            if _identity(self._path) != self._identity:
                self._close()
                return  # the file was removed or renamed; SQLite does not write to such a file
            # A header that asks for a newer version of SQLite makes a file read-only.
            damaged = os.access(self._path, os.W_OK) and os.access(self._path.parent, os.W_OK)
        if damaged:
            self._set_aside(error)
            return
        self._close()
        if primary != sqlite3.SQLITE_CANTOPEN or self._path.exists():
            raise self._folder.error("using its database", OSError(str(error))) from error

    def _set_aside(self, error: Exception) -> None:
        identity = self._identity or _identity(self._path)
        self._close()
        aside = self._path.with_name(f"vectors-{token_hex(8)}.sqlite{DAMAGED}")
        try:
            with self.files_lock():
                if identity is None or _identity(self._path) != identity:
                    return  # another process was first
                self._path.rename(aside)
                # SQLite would apply the journal to the next database of that name.
                self._folder.path(JOURNAL).unlink(missing_ok=True)
        except OSError as failed:
            raise self._folder.error(f"setting its damaged database aside ({error})", failed) from failed
        self._rescue(aside, str(error))


def _identity(path: Path) -> tuple[int, int] | None:
    with suppress(FileNotFoundError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None
