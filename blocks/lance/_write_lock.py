"""One writer at a time for a local table: a courtesy, on which nothing but elegance depends.

Writers that get in each other's way mend it themselves (see `Store`), but between the commit and the
mending a reader may see a document in two contents. Where writers share a folder this lock keeps them
apart. The operating system frees it when its holder dies. One that is held for too long, or a file system
that knows no locks, is ignored; so is the lock of an object store's table, which has none. Only the user of the
writer can open the file of the lock: in a folder that users share, each has to do without the lock that another one
made first, and nobody can make the others wait.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from prefect_ollama.blocks.lance._damage import explained
from prefect_ollama.blocks.lance._fsync import fsynced
from prefect_ollama.blocks.lance.spec import StoreSpec
from prefect_ollama.blocks.private_files import open_private

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK_TIMEOUT_S: Final = 60.0
_PAUSE: Final = 0.01


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
        """Hold the lock, after waiting for at most `PATIENCE` seconds; what is committed is synced at its end.

        Yields:
            Whether the lock was had, so that hardly another writer is about.

        Raises:
            TableError: LanceDB failed meanwhile; it says why.
        """
        with self._threads:
            if self._depth:
                yield self._alone
                return
            file = self._take()
            self._depth, self._alone = 1, file is not None
            try:
                with (
                    fsynced(self._spec),
                    explained(self._spec, f"Table {self._spec.table!r} cannot be written"),
                ):
                    yield self._alone
            finally:
                self._depth, self._alone = 0, False
                if file is not None:
                    os.close(file)

    def _take(self) -> int | None:
        if self._path is None or fcntl is None:
            return None
        try:
            file = open_private(self._path)
        except OSError:
            return None
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return file
            except BlockingIOError:
                time.sleep(_PAUSE)
            except OSError:
                break
        os.close(file)
        return None
