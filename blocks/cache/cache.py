"""The vector cache of one process.

Guarantees: `get` returns only vectors that were put under that key, and a vector is on disk when `put` returns.
Processes that share the folder see each other's vectors. A process may be killed at any moment, and the others can
still use the cache. Damaged vectors count as missing. Threads may share one `VectorCache`.
"""

from __future__ import annotations

import logging
import re
import sqlite3
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from prefect_ollama.blocks.cache import _database as database
from prefect_ollama.blocks.cache import _records
from prefect_ollama.blocks.cache import _segments as segments
from prefect_ollama.blocks.cache import _table as table
from prefect_ollama.blocks.cache._folder import DAMAGED, DAMAGED_AGE_S, TEMPORARY, TEMPORARY_AGE_S, Folder
from prefect_ollama.blocks.cache._models import Models
from prefect_ollama.blocks.cache.keys import check_keys
from prefect_ollama.blocks.cache.spec import CacheSpec, CacheStats, Found
from prefect_ollama.blocks.errors import CacheError
from prefect_ollama.blocks.nodes import Fingerprint, Vectors
from prefect_ollama.blocks.quantity import quantity

logger = logging.getLogger(__name__)

# How often a block's time of use is written. Finer times would cost more writes and hardly change what is
# evicted.
USED_EVERY_S: Final = 3600.0

# How often times of use are written at all, because each write is synced to the disk.
MARK_EVERY_S: Final = 10.0

# Files that were set aside; those whose size counts; and those that `clear` and age remove, with what killed processes
# and the merger of the earlier format left.
_DAMAGED: Final = rf"(vectors-.*\.sqlite|{segments.NAME.pattern}){re.escape(DAMAGED)}"
_COUNTED: Final = re.compile(rf"{re.escape(database.NAME)}(-journal)?|{_DAMAGED}")
_LEFT_OVER: Final = re.compile(rf"{_DAMAGED}|{segments.NAME.pattern}{re.escape(TEMPORARY)}|compaction\.lock")

# Records in one transaction of a conversion: 1.5 MB of 768 floats, so that others get their turn.
BATCH: Final = 512


@cache
def shared_cache(spec: CacheSpec) -> VectorCache:
    """Return the cache of this process for a folder: its threads share one connection."""
    return VectorCache(spec)


class VectorCache:
    """The cache in one folder. Opening it touches nothing."""

    def __init__(self, spec: CacheSpec) -> None:
        self.spec = spec
        self._folder = Folder(spec)
        self._models = Models(self._folder)
        self._database = database.Database(self._folder, self._rescue)
        self._tidied = False
        self._marked: dict[int, float] = {}  # by block, when its use was noted last
        self._unwritten: set[int] = set()  # blocks whose use is not on disk yet
        self._written = -MARK_EVERY_S

    def model_id(self, fingerprint: Fingerprint) -> str:
        """Return the id of a model in the keys of this cache (`VectorSalt.model`).

        Raises:
            CacheError: The folder cannot be read, or the model is new and cannot be written.
        """
        with self._database.lock:
            return self._models.id_of(fingerprint)

    def holds(self, keys: Sequence[bytes], dimension: int) -> NDArray[np.bool_]:
        """Return which keys have a vector. Only `get` reads and checks the vectors.

        Args:
            keys: Keys of `vector_keys`.
            dimension: Floats in a vector.

        Raises:
            CacheError: The folder cannot be read.
        """
        check_keys(keys)
        self._tidy()
        missing = [False] * len(keys)
        there = self._database.run(
            lambda connection: table.holds(connection, keys, dimension), write=False, missing=missing
        )
        return np.asarray(there, np.bool_)

    def get(self, keys: Sequence[bytes], dimension: int) -> Found:
        """Return the vectors of these keys.

        Args:
            keys: Keys of `vector_keys`, any number; a key may come twice.
            dimension: Floats in a vector; a vector of another length counts as missing.

        Raises:
            CacheError: The folder cannot be read.
        """
        check_keys(keys)
        self._tidy()
        nothing: list[tuple[int, object] | None] = [None] * len(keys)
        rows = self._database.run(
            lambda connection: table.find(connection, keys, dimension), write=False, missing=nothing
        )
        there = [(number, row) for number, row in enumerate(rows) if row is not None]
        sound, vectors = _records.unpack(
            [keys[number] for number, _ in there], [record for _, (_, record) in there], dimension
        )
        mask = np.zeros(len(keys), np.bool_)
        mask[[number for number, _ in there]] = sound
        damaged = [
            (row[0], keys[number]) for (number, row), good in zip(there, sound, strict=True) if not good
        ]
        if damaged:
            self._drop(damaged, dimension)
        self._note_use({row[0] // table.BLOCK_RECORDS for _, row in there})
        return Found(mask, vectors)

    def put(self, keys: Sequence[bytes], vectors: Vectors) -> None:
        """Store vectors; they are on disk when this returns. Keys that have a vector already keep it.

        If the cache would exceed its limit, the least recently used vectors are evicted.

        Args:
            keys: A key for each vector.
            vectors: float32 of shape (keys, dimension), finite and of norm 1.

        Raises:
            ValueError: The shapes do not fit, or a vector is not finite or not of norm 1; nothing was stored.
            CacheError: The folder cannot be written; nothing was stored.
        """
        check_keys(keys)
        if vectors.ndim != 2 or len(vectors) != len(keys):
            raise ValueError(f"{len(keys)} keys need as many vectors, not an array of shape {vectors.shape}")
        vectors = np.ascontiguousarray(vectors, np.float32)
        good = _records.normal(vectors)
        if not good.all():
            raise ValueError(f"vector {int(np.argmin(good))} is not finite or not of norm 1")
        if len(keys):
            self._tidy()
            self._insert(list(zip(keys, _records.pack(keys, vectors), strict=True)), vectors.shape[1])

    def stats(self) -> CacheStats:
        """Return the size of the cache, with the vectors of all processes.

        Raises:
            CacheError: The folder cannot be read.
        """
        self._tidy()
        entries, *used = self._database.run(table.usage, write=False, missing=table.NO_USAGE)
        oldest, newest = (None if each is None else datetime.fromtimestamp(each, UTC) for each in used)
        sizes = self._sizes()
        damaged = sum(name.endswith(DAMAGED) for name in sizes)
        limit = self.spec.limit_bytes
        return CacheStats(self.spec.folder, entries, sum(sizes.values()), limit, damaged, oldest, newest)

    def clear(self) -> CacheStats:
        """Empty the cache. Other processes may read and write meanwhile; vectors that they put later stay.

        Returns:
            The size before.

        Raises:
            CacheError: A file cannot be removed.
        """
        held = self.stats()
        if not self._folder.is_there():
            return held
        with self._database.files_lock():  # no conversion is under way, which would bring vectors back
            self._remove(self._folder.ours(_LEFT_OVER))
            if self._folder.path(database.NAME).exists():
                self._database.run(table.clear, write=True, missing=None)
        return held

    def _sizes(self) -> dict[str, int]:
        """Return the bytes of the database, its journal and damaged files, by name."""
        return {name: stat.st_size for name, stat in self._folder.ours(_COUNTED).items()}

    def _insert(
        self, records: Sequence[tuple[bytes, bytes]], dimension: int, used: int | None = None
    ) -> None:
        limit = self.spec.limit_bytes
        sizes = self._sizes()
        if damaged := {name: size for name, size in sizes.items() if name.endswith(DAMAGED)}:
            # Damaged files go first when room is needed.
            limit -= sum(damaged.values())
            room = sum(len(record) + table.RECORD_OVERHEAD_BYTES for _, record in records)
            if sizes.get(database.NAME, 0) + room > limit:
                self._remove(damaged)
                limit = self.spec.limit_bytes
        with self._database.lock:
            marks, self._unwritten = self._unwritten, set()
        now = database.now()

        def work(connection: sqlite3.Connection) -> None:
            # Times of use go with the insertion, whose sync to the disk is paid anyway, and before the eviction.
            table.mark_used(connection, marks, now)
            table.insert(
                connection, records, dimension, used=now if used is None else used, limit_bytes=limit
            )

        self._database.run(work, write=True, missing=None)

    def _note_use(self, blocks: Collection[int]) -> None:
        now = time.monotonic()
        with self._database.lock:
            new = {each for each in blocks if now - self._marked.get(each, -USED_EVERY_S) >= USED_EVERY_S}
            self._marked |= dict.fromkeys(new, now)
            self._unwritten |= new
            if not self._unwritten or now - self._written < MARK_EVERY_S:
                return
            self._written = now
            marks, self._unwritten = self._unwritten, set()
        used = database.now()
        try:
            # A reader does not wait for writers.
            self._database.run(
                lambda connection: table.mark_used(connection, marks, used),
                write=True,
                missing=None,
                wait=False,
            )
        except CacheError:  # a cache that is busy or read-only can still be read
            with self._database.lock:
                self._unwritten |= marks

    def _drop(self, damaged: Sequence[tuple[int, bytes]], dimension: int) -> None:
        logger.warning(
            "Damaged vectors in %s count as missing: %d.",
            self._folder.path(database.NAME),
            len(damaged),
        )
        with suppress(CacheError):
            self._database.run(
                lambda connection: table.drop(connection, damaged, dimension), write=True, missing=None
            )

    def _rescue(self, aside: Path, why: str) -> None:
        """Copy the sound vectors of a damaged database into the new one."""
        kept = 0
        try:
            for rows in database.read_damaged(aside, BATCH):
                kept += self._insert_sound(rows)
        except (CacheError, sqlite3.Error, OSError) as error:
            logger.debug("reading %s ended: %s", aside, error)
        logger.warning(
            "The database of the vector cache is damaged: %s. It was set aside as %s; %d of its vectors were kept, the "
            "others count as missing.",
            why,
            aside,
            kept,
        )

    def _insert_sound(self, rows: Iterable[tuple[Any, ...]], used: int | None = None) -> int:
        """Insert the rows whose checksum is right, and return how many. A row is key, dimension and record."""
        kept = 0
        # A damaged database may return any type and value.
        usable = [row for row in rows if isinstance(row[0], bytes) and row[1] in range(1, 1_000_000)]
        for dimension, group in groupby(usable, key=lambda row: int(row[1])):
            part = list(group)
            sound, _ = _records.unpack([row[0] for row in part], [row[2] for row in part], dimension)
            good = [(row[0], row[2]) for row, is_sound in zip(part, sound, strict=True) if is_sound]
            kept += len(good)
            if good:
                self._insert(good, dimension, used)
        return kept

    def _tidy(self) -> None:
        """Convert files of the earlier format and remove files of killed writers, once in each process."""
        with self._database.lock:
            if self._tidied:
                return
            if self._folder.ours(segments.NAME):
                # Looked up again under the lock: another process may have converted them since.
                with self._database.files_lock():
                    self._convert(
                        {n: int(stat.st_mtime) for n, stat in self._folder.ours(segments.NAME).items()}
                    )
            for name, stat in self._folder.ours(_LEFT_OVER).items():
                limit = DAMAGED_AGE_S if name.endswith(DAMAGED) else TEMPORARY_AGE_S
                if time.time() - stat.st_mtime > limit:
                    with suppress(OSError):
                        self._folder.path(name).unlink()
            self._tidied = True

    def _convert(self, times: Mapping[str, int]) -> None:
        """Move the vectors of segments into the database, given when each was last used."""
        logger.info("Converting %s of the vector cache %s.", quantity(len(times), "file"), self.spec.folder)
        # The most recently used ones last, so that they stay if there is no room for all.
        for name in sorted(times, key=times.__getitem__):
            path, kept = self._folder.path(name), 0
            try:
                for rows in segments.read(path, BATCH):
                    kept += self._insert_sound(rows, used=times[name])
                path.unlink()
            except OSError as error:
                logger.warning("%s cannot be converted and counts as missing: %s.", path, error)
                continue
            if kept < (rows_written := segments.shape(name)[0]):
                logger.warning("%s is damaged; vectors kept: %d of %d.", path, kept, rows_written)

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            try:
                self._folder.path(name).unlink(missing_ok=True)
            except OSError as error:
                raise self._folder.error(f"removing {name!r}", error) from error
