"""Locks on texts between processes, so that two runs on one host do not embed the same text.

A lock is one byte of one of `FILES` lock files. The kernel releases the locks of a process as soon as it ends,
however it ends. `SingleFlight` does the same between the threads of one process.

If the system or the file system has no such locks, nothing is locked. A text may then be embedded twice, and both
vectors are the same.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from prefect_ollama.blocks.errors import FolderNotPrivate
from prefect_ollama.blocks.private_files import FILE_MODE, private_folder

# `filelock` locks whole files, so it would need one file for each text.
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# Number of lock files: for each new lock the kernel goes through all locks of its file.
FILES = 64

# Offsets in a file are signed numbers of 64 bits, and offset plus length must not overflow.
OFFSET_MASK = 2**62 - 1


class TextLocks:
    """The locks of this process in one folder.

    Args:
        folder: A folder that all runs on this host share, such as one in the vector cache.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[int, int] = {}
        self._usable = fcntl is not None

    @contextlib.contextmanager
    def hold(self, keys: Mapping[str, bytes]) -> Iterator[set[str]]:
        """Lock the texts that no other process has locked, yield them, and release the rest at the end.

        Args:
            keys: The keys of their vectors in the cache, by text.
        """
        held: set[str] = set()
        try:
            for text, key in keys.items():
                if self._lock(key):
                    held.add(text)
            yield held
        finally:
            self.release(keys[text] for text in held)

    def release(self, keys: Iterable[bytes]) -> None:
        """Release the locks of texts that are done: their vectors are in the cache, or they failed."""
        if self._usable:
            for key in keys:
                file, offset = self._place(key)
                with contextlib.suppress(OSError):
                    fcntl.lockf(file, fcntl.LOCK_UN, 1, offset)

    def _lock(self, key: bytes) -> bool:
        """Return False only if another process has the text."""
        if not self._usable:
            return True
        try:
            file, offset = self._place(key)
        except (OSError, FolderNotPrivate):  # without locks a text may be embedded twice, which does no harm
            self._usable = False
            return True
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, offset)
        except (BlockingIOError, PermissionError):  # POSIX allows both for a lock that another process has
            return False
        except OSError:  # a file system without locks, or no room for more
            self._usable = False
        return True

    def _place(self, key: bytes) -> tuple[int, int]:
        number = key[0] % FILES
        if number not in self._files:
            folder = private_folder(self._folder)
            # Never closed: closing any descriptor of a file releases all POSIX locks of the process on it (fcntl(2)).
            self._files[number] = os.open(
                folder / f"{number:02}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE
            )
        return self._files[number], int.from_bytes(key[1:9], "little") & OFFSET_MASK
