"""Locks on texts between processes: what another run on this host is embedding is not embedded again.

Each text is one byte of one of `FILES` lock files, so that a lock leaves nothing behind: the kernel releases what a
process held as soon as it ends, however it ends. Threads of one process are kept apart by `SingleFlight`.

Where the file system or the system has no such locks, nothing is locked: a text may then be embedded twice, and both
vectors are the same.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from prefect_ollama.blocks.errors import FolderNotPrivate
from prefect_ollama.blocks.private_files import FILE_MODE, private_folder

# `filelock` locks whole files: each text would leave one behind.
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# Lock files: the kernel looks through all locks of a file for each one that it sets.
FILES = 64

# Offsets in a file are signed and of 64 bits.
OFFSET_MASK = 2**62 - 1


class TextLocks:
    """The locks that this process holds and asks for in one folder.

    Args:
        folder: A folder that all runs on this host share, such as one in the vector cache.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[int, int] = {}
        self._usable = fcntl is not None

    @contextlib.contextmanager
    def hold(self, keys: Mapping[str, bytes]) -> Iterator[set[str]]:
        """Lock the texts that no other process has locked; yield them, and release at the end what is still held.

        Args:
            keys: By text, the key of its vector in the cache.
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
        """Let other processes have texts whose vectors can be found in the cache, or that are given up."""
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
        except (OSError, FolderNotPrivate):  # work that is done twice is no reason to stop
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
            # Never closed: to close any descriptor of a file drops all of the process's POSIX locks on it.
            self._files[number] = os.open(
                folder / f"{number:02}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE
            )
        return self._files[number], int.from_bytes(key[1:9], "little") & OFFSET_MASK
