"""The folder for files of the Dask processes of one run.

Guarantees: only the user of the run can enter it, because Dask puts it on `sys.path` of its processes. It is removed at
the end of the run, and the folder of a killed run at the start of the next one.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from filelock import BaseFileLock, Timeout
from prefect.settings import get_current_settings

from prefect_ollama.blocks.errors import FolderNotPrivate
from prefect_ollama.blocks.private_files import private_folder, private_lock

# The folder of Prefect's home that holds one folder for each run.
NAME = "ollama-scratch"

# The base folder and the folder of each run have a lock of this name.
_LOCK = "lock"


class Scratch:
    """A private folder that exists until `close`.

    Attributes:
        path: The folder.

    Raises:
        OSError: No private folder can be made, neither in Prefect's home nor among the temporary files.
    """

    def __init__(self) -> None:
        self._lock: BaseFileLock | None = None
        try:
            base = private_folder(get_current_settings().home / NAME)
            # Under this lock no other run removes the new folder before it is locked itself.
            with private_lock(base / _LOCK):
                _sweep(base)
                self.path = Path(tempfile.mkdtemp(prefix="run-", dir=base))
                self._lock = private_lock(self.path / _LOCK)
                self._lock.acquire()
        except (FolderNotPrivate, OSError):
            # Prefect's home belongs to another user. A folder of `mkdtemp` is private too, but if this run is killed,
            # no later run removes it.
            self.path = Path(tempfile.mkdtemp(prefix="prefect-ollama-"))

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def _sweep(base: Path) -> None:
    """Remove the folders of killed runs, whose locks the operating system has released."""
    for folder in base.glob("run-*"):
        try:
            with private_lock(folder / _LOCK).acquire(timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
        except (OSError, Timeout):
            continue  # its run lives
