"""Files in a shared folder that show which processes live: each is locked as long as its process lives.

Guarantees: a killed process blocks no other process, because the operating system releases its lock. Other users of the
machine can neither read the files nor hold their locks.
"""

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from prefect_ollama.blocks.private_files import open_private, private_folder

# `filelock` opens its file each time that it locks, and makes it if it is gone. That would cost 100 times as much for
# each request (101 µs, not 1). A check whether another process lives would also restore a removed file.
try:
    import fcntl
except ImportError:
    CAN_LOCK = False  # Windows
else:
    CAN_LOCK = True


def try_lock(file: int) -> bool:
    """Lock an open file, and return whether this succeeded: false if another process holds the lock.

    Raises:
        OSError: It cannot be locked.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(file: int) -> None:
    """Release a lock."""
    fcntl.flock(file, fcntl.LOCK_UN)


class LockedFile:
    """A file of this process in the shared folder; its suffix distinguishes its kind from others there.

    Raises:
        FolderNotPrivate: Others could enter the folder.
        OSError: It cannot be made.
    """

    def __init__(self, folder: Path, suffix: str, content: Any) -> None:
        private_folder(folder)
        # Not the process id: another process with the same id may be in a container that shares the folder.
        self.path = folder / f"{uuid.uuid4().hex}{suffix}"
        self.unseen = self.path.with_suffix(".new")
        self._written = b""
        self._file = open_private(self.unseen)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self.write(content)
            self.unseen.rename(self.path)  # no process may see the file before it is locked and complete
        except OSError:
            self.close()
            raise

    def write(self, content: Any) -> None:
        """Replace its JSON, if it changed."""
        word = json.dumps(content).encode()
        if word != self._written:
            os.pwrite(self._file, word, 0)
            os.ftruncate(self._file, len(word))
            self._written = word

    def close(self) -> None:
        """Remove it."""
        for path in (self.path, self.unseen):
            with suppress(OSError):
                path.unlink(missing_ok=True)
        os.close(self._file)


def read_locked(folder: Path, suffix: str, own: LockedFile | None = None) -> Iterator[Any]:
    """Yield the JSON of the files of other processes, all but `own`. Files of processes that are gone are removed."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            path = Path(entry.path)
            if not entry.name.endswith(suffix) or (own is not None and path == own.path):
                continue
            with suppress(OSError, ValueError), path.open("rb") as file:
                try:
                    # A shared lock, because another process may look at the same moment.
                    fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    yield json.load(file)
                else:
                    path.unlink(missing_ok=True)
