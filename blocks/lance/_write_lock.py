"""One writer at a time for a local table: a courtesy, on which nothing but elegance depends.

Writers that get in each other's way mend it themselves (see `Store`), but between the commit and the
mending a reader may see a document in two contents. Where writers share a folder this lock keeps them
apart. The operating system frees it when its holder dies. One that is held for too long, or a file system
that knows no locks, is ignored; so is the lock of an object store's table, which has none. Only the user of the
writer can open the file of the lock: in a folder that users share, each has to do without the lock that another one
made first, and nobody can make the others wait.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import BaseFileLock, Timeout

from prefect_ollama.blocks.lance._damage import explained
from prefect_ollama.blocks.lance._fsync import fsynced
from prefect_ollama.blocks.lance.spec import StoreSpec
from prefect_ollama.blocks.private_files import private_lock

# Seconds to wait for another writer, whose commits take some seconds at most.
LOCK_TIMEOUT_S: Final = 60.0

_POLL_S: Final = 0.01


class WriteLock:
    """The lock of one table, for one `Store`; its threads may take it again while they hold it."""

    def __init__(self, spec: StoreSpec) -> None:
        self._spec = spec
        self._path = None if spec.remote else Path(spec.uri, f".{spec.table}.lock")
        self._threads = threading.RLock()
        self._depth = 0
        self._alone = False

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Hold the lock, after waiting for at most `LOCK_TIMEOUT_S` seconds; what is committed is synced at its end.

        Yields:
            Whether the lock was had, so that hardly another writer is about.

        Raises:
            TableError: LanceDB failed meanwhile; it says why.
        """
        with self._threads:
            if self._depth:
                yield self._alone
                return
            lock = self._take()
            self._depth, self._alone = 1, lock is not None
            try:
                with (
                    fsynced(self._spec),
                    explained(self._spec, f"Table {self._spec.table!r} cannot be written"),
                ):
                    yield self._alone
            finally:
                self._depth, self._alone = 0, False
                if lock is not None:
                    lock.release()

    def _take(self) -> BaseFileLock | None:
        if self._path is None:
            return None
        try:
            lock = private_lock(self._path)
            lock.acquire(timeout=LOCK_TIMEOUT_S, poll_interval=_POLL_S)
        except (OSError, Timeout):
            return None
        return lock
