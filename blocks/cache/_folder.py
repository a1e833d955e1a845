"""The folder of a cache, closed to other users. Only files that this user or root wrote are used."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from prefect_ollama.blocks.cache.spec import CacheSpec
from prefect_ollama.blocks.errors import CacheError, FolderNotPrivate
from prefect_ollama.blocks.private_files import is_ours, private_folder

# Suffixes of files that are being written, and of files that were set aside.
TEMPORARY: Final = ".tmp"
DAMAGED: Final = ".damaged"

# A temporary file older than this many seconds was left by a killed writer; a living writer takes milliseconds.
TEMPORARY_AGE_S: Final = 3600.0

# Seconds for which a damaged file is kept, so that a user can examine it.
DAMAGED_AGE_S: Final = 7 * 24 * 3600.0


class Folder:
    """The folder of one cache."""

    def __init__(self, spec: CacheSpec) -> None:
        self.spec = spec
        self._path = Path(spec.folder)
        self._checked = False

    def path(self, name: str) -> Path:
        return self._path / name

    def error(self, doing: str, error: OSError) -> CacheError:
        """Return the error for an operation on the folder that failed."""
        return CacheError(
            f"{doing} failed: {error.strerror or error}.",
            folder=self.spec.folder,
            state="The vectors in it are whole; other vectors are embedded again.",
            remedy="Look at the folder's permissions, its free space and, where it is mounted, its server.",
        )

    def is_there(self) -> bool:
        """Return whether the folder exists; if so, it is closed to others. Raises `CacheError` if it cannot be."""
        if not self._path.exists():
            return False
        if not self._checked:
            self.make()
        return True

    def ours(self, names: re.Pattern[str]) -> dict[str, os.stat_result]:
        """Return the files with such names that no other user wrote; an empty list if the folder does not exist yet."""
        found = {}
        try:
            for path in self._path.iterdir() if self.is_there() else ():
                if names.fullmatch(path.name):
                    with suppress(FileNotFoundError):
                        found[path.name] = path.lstat()
        except OSError as error:
            # NFS reports ESTALE for a file that is gone.
            if error.errno not in (errno.ENOENT, errno.ESTALE):
                raise self.error("listing it", error) from error
        return {name: stat for name, stat in found.items() if is_ours(stat)}

    def sweep(self, names: re.Pattern[str], age_s: float) -> None:
        """Remove the files with such names that are older than this many seconds."""
        for name, stat in self.ours(names).items():
            if time.time() - stat.st_mtime > age_s:
                with suppress(OSError):
                    self.path(name).unlink()

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; `CacheError` if one cannot be removed."""
        for name in names:
            try:
                self.path(name).unlink(missing_ok=True)
            except OSError as error:
                raise self.error(f"removing {name!r}", error) from error

    def make(self) -> None:
        """Make the folder, and close it to other users. Raises `CacheError` if it cannot be made or closed."""
        try:
            private_folder(self._path)
        except FolderNotPrivate as error:
            raise CacheError(
                f"it cannot be used: {error.cause}",
                folder=self.spec.folder,
                state="No vector of it is believed; all are embedded again.",
                remedy=error.remedy,
            ) from error
        except OSError as error:
            raise self.error("making it", error) from error
        self._checked = True
