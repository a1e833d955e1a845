"""A lock that keeps writers of a local table apart, and syncs their commits to the disk.

The guarantees of `Store` do not depend on it.

Writers that conflict repair the table themselves (see `Store`), but until then a reader may see two versions of a
document. This lock avoids such conflicts between writers on one file system. The operating system releases it when its
holder dies. A writer ignores the lock if it is held for too long, or if the file system has no locks. Tables in an
object store have no lock. Only the user of the writer can open the lock file. So in a folder that several users share,
a user writes without the lock if another user made the file, and no user can make other users wait.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from filelock import BaseFileLock, Timeout

from prefect_ollama.blocks.lance._damage import explained
from prefect_ollama.blocks.lance.spec import StoreSpec
from prefect_ollama.blocks.private_files import private_lock

# Seconds to wait for another writer. Its commits take some seconds at most, so one that holds the lock for longer was
# stopped.
LOCK_TIMEOUT_S: Final = 60.0

# Seconds between two attempts: small beside a commit, which takes tens of milliseconds.
_POLL_S: Final = 0.01


class WriteLock:
    """The lock of one table, for one `Store`. A thread may take it again while it holds it."""

    def __init__(self, spec: StoreSpec) -> None:
        self._spec = spec
        self._path = None if spec.remote else Path(spec.uri, f".{spec.table}.lock")
        self._threads = threading.RLock()
        # Whether this object holds the lock, or tried to in vain (then `_locked` is False).
        self._held = False
        self._locked = False

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Hold the lock, after a wait of at most `LOCK_TIMEOUT_S` seconds. Commits are synced to the disk at its end.

        Yields:
            Whether the lock is held. If not, other writers may commit meanwhile.

        Raises:
            TableError: LanceDB failed meanwhile.
        """
        with self._threads:
            if self._held:
                yield self._locked
                return
            lock = self._take()
            self._held, self._locked = True, lock is not None
            try:
                with (
                    fsynced(self._spec),
                    explained(self._spec, f"Table {self._spec.table!r} cannot be written"),
                ):
                    yield self._locked
            finally:
                self._held = self._locked = False
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


@contextmanager
def fsynced(spec: StoreSpec) -> Iterator[None]:
    """Sync, at the end, all files that appeared in the tables' folders meanwhile, also those of other writers.

    LanceDB (0.40) writes files, renames them into their place and syncs none of them. After a power failure, a version
    could exist whose files are empty, and the whole table could not be read.
    """
    before = _files(spec)
    try:
        yield
    finally:
        new = _files(spec) - before
        # Versions last: a version must not be on the disk before its files are.
        for path in sorted(new, key=lambda path: path.parent.name == "_versions"):
            _sync(path)
        # A new file survives a power failure only if its folder is synced too (fsync(2)).
        for folder in sorted(
            {parent for path in new for parent in path.parents if parent.is_relative_to(spec.uri)}
        ):
            _sync(folder)


def _files(spec: StoreSpec) -> set[Path]:
    if spec.remote:
        return set()
    return {
        Path(folder, name)
        for table in spec.tables
        for folder, _, names in os.walk(Path(spec.uri, f"{table}.lance"))
        for name in names
    }


def _sync(path: Path) -> None:
    # A file that is gone again needs no sync; a file system that cannot sync is the user's choice.
    with suppress(OSError):
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
