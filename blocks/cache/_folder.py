"""The folder of a cache, closed to other users, and the models whose vectors the cache holds.

Only files that this user or root wrote are used. Each model has an id, which is part of the keys of its vectors. Equal
weights give vectors that differ in the last digits on a CPU and on a GPU, so an id cannot be computed from vectors. The
first process that uses a model writes its fingerprint into the folder, and processes whose nodes give the same vectors
use its id. Nothing is locked. If two processes write one model at the same moment, all use the earlier id from then on,
and vectors under the other id are embedded again. A file is created in one step, complete, and is never changed. A file
that cannot be read counts as missing.
"""

import errno
import json
import logging
import os
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_hex
from typing import Final

from prefect_ollama.blocks.cache.spec import CacheSpec
from prefect_ollama.blocks.errors import CacheError, FolderNotPrivate
from prefect_ollama.blocks.nodes import Fingerprint, compare
from prefect_ollama.blocks.private_files import is_ours, private_folder

logger = logging.getLogger(__name__)

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

    def path(self, name: str) -> Path:
        return self._path / name

    def error(self, doing: str, error: OSError) -> CacheError:
        """Return the error for an operation on the folder that failed."""
        return CacheError(
            f"{doing} failed: {error.strerror or error}.",
            folder=self.spec.folder,
            state="The vectors in it are whole; other vectors are embedded again.",
            remedy="Check the folder's permissions and free space and, if it is a share, its server.",
        )

    def is_there(self) -> bool:
        """Return whether the folder exists; if so, it is closed to others. Raises `CacheError` if it cannot be."""
        if not self._path.exists():
            return False
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
                state="None of its vectors is used; all are embedded again.",
                remedy=error.remedy,
            ) from error
        except OSError as error:
            raise self.error("making it", error) from error


# The id of the model, then a random part: two processes that write one model must not write one file.
_NAME: Final = re.compile(r"[0-9a-f]{16}-[0-9a-f]{8}\.model")
_HALF_WRITTEN: Final = re.compile(rf"{_NAME.pattern}{re.escape(TEMPORARY)}")


@dataclass(frozen=True, slots=True)
class _Known:
    """One known model: its file, when it was written (ns since the epoch), and its fingerprint."""

    name: str
    time_ns: int
    fingerprint: Fingerprint


class Models:
    """The known models of one folder."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._read: dict[str, _Known | None] = {}
        self._found: dict[tuple[str, str], _Known] = {}

    def id_of(self, fingerprint: Fingerprint) -> str:
        """Return the id under which the cache keeps this model's vectors, and make it known if it is new.

        `CacheError` if the folder cannot be read, or the model is new and cannot be written.
        """
        # Nodes that give a table's vectors in all but some scripts go by the table's id, and are other models here.
        key = fingerprint.id, fingerprint.measured_id
        known = self._found.get(key)
        if known is None or not self._folder.path(known.name).exists():
            # If the folder was emptied meanwhile, this process keeps its id: tasks in flight already use it.
            made = fingerprint if known is None else known.fingerprint
            known = self._find(fingerprint)
            if known is None:
                taken = {each.fingerprint.id for each in self._here()}
                self._write(replace(made, id=token_hex(8)) if made.id in taken else made)
                # Another process may have written the model since; all must use the same id.
                known = self._find(fingerprint)
            if known is None:
                raise self._folder.error("reading what was written", OSError("it is gone"))
            self._found[key] = known
        return known.fingerprint.id

    def _find(self, fingerprint: Fingerprint) -> _Known | None:
        """Return the earliest known model with these vectors."""
        return next((known for known in self._here() if _same(fingerprint, known.fingerprint)), None)

    def _here(self) -> list[_Known]:
        """Return the models whose files are in the folder, the earliest first."""
        names = self._folder.ours(_NAME)
        for name in names.keys() - self._read.keys():
            self._read[name] = self._load(name)
        here = [known for name, known in self._read.items() if known is not None and name in names]
        return sorted(here, key=lambda known: (known.time_ns, known.name))

    def _load(self, name: str) -> _Known | None:
        try:
            values = json.loads(self._folder.path(name).read_bytes())
            fingerprint = Fingerprint.from_json(json.dumps(values["fingerprint"]))
            return _Known(name, int(values["time_ns"]), fingerprint)
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("%s cannot be read and counts as missing: %s.", self._folder.path(name), error)
            return None

    def _write(self, fingerprint: Fingerprint) -> None:
        name = f"{fingerprint.id}-{token_hex(4)}.model"
        text = json.dumps({"time_ns": time.time_ns(), "fingerprint": json.loads(fingerprint.to_json())})
        temporary = self._folder.path(f"{name}{TEMPORARY}")
        self._folder.make()
        # What killed writers left.
        self._folder.sweep(_HALF_WRITTEN, TEMPORARY_AGE_S)
        try:
            with temporary.open("x", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(self._folder.path(name))
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise self._folder.error("writing to it", error) from error


def _same(one: Fingerprint, other: Fingerprint) -> bool:
    """Return whether two models agree in all scripts: the cache does not know the script of a text."""
    compared = compare(one, other)
    return compared.same and not compared.scripts
