"""The folder in which the Dask processes of one run keep what they write to disk.

Guarantees: only the user of the run can enter it, because Dask puts it on `sys.path` of its processes; it goes at the
end of the run, and that of a killed run at the start of the next one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from prefect.settings import get_current_settings

from prefect_ollama.blocks.errors import FolderNotPrivate
from prefect_ollama.blocks.private_files import open_private, private_folder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = "ollama-scratch"
"""The folder of Prefect's home that holds one folder for each run."""

_LOCK = "lock"


class Scratch:
    """A private folder that exists until `close`.

    Attributes:
        path: The folder.

    Raises:
        OSError: No private folder can be made, neither in Prefect's home nor among the temporary files.
    """

    def __init__(self) -> None:
        self._lock = -1
        try:
            base = private_folder(get_current_settings().home / NAME)
            with _alone(base):
                _sweep(base)
                self.path = Path(tempfile.mkdtemp(prefix="run-", dir=base))
                self._lock = _locked(self.path / _LOCK)
        except (FolderNotPrivate, OSError):
            # Such a home belongs to another user. What `mkdtemp` makes is private too, but no later run finds it.
            self.path = Path(tempfile.mkdtemp(prefix="prefect-ollama-"))

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


@contextlib.contextmanager
def _alone(base: Path) -> Iterator[None]:
    """Keep other runs from removing a folder that is made and not locked yet."""
    gate = _locked(base / _LOCK, wait=True)
    try:
        yield
    finally:
        if gate >= 0:
            os.close(gate)


def _sweep(base: Path) -> None:
    """Remove the folders of runs that were killed: the operating system has freed their locks."""
    for folder in base.glob("run-*"):
        try:
            lock = _locked(folder / _LOCK)
        except OSError:
            continue  # its run lives
        shutil.rmtree(folder, ignore_errors=True)
        if lock >= 0:
            os.close(lock)


def _locked(path: Path, *, wait: bool = False) -> int:
    """Return a descriptor of the file that holds its lock, -1 where there are no locks.

    Raises:
        OSError: Another process holds the lock, or the file cannot be opened.
    """
    if fcntl is None:
        return -1
    file = open_private(path)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BaseException:
        os.close(file)
        raise
    return file
