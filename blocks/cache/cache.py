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
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache, partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from prefect_ollama.blocks.cache import _database as database
from prefect_ollama.blocks.cache import _salvage as salvage
from prefect_ollama.blocks.cache import _sql
from prefect_ollama.blocks.cache._folder import (
    DAMAGED,
    DAMAGED_AGE_S,
    TEMPORARY,
    TEMPORARY_AGE_S,
    Folder,
    Models,
)
from prefect_ollama.blocks.cache.records import check_keys, normal, pack, unpack
from prefect_ollama.blocks.cache.spec import CacheHits, CacheSpec, CacheStats
from prefect_ollama.blocks.errors import CacheError
from prefect_ollama.blocks.nodes import Fingerprint, Vectors

logger = logging.getLogger(__name__)

# How often a block's time of use is written. Finer times would cost more writes and hardly change what is
# evicted.
USED_EVERY_S: Final = 3600.0

# Seconds between two writes of times of use, because each write is synced to the disk.
MARK_EVERY_S: Final = 10.0

# Files that were set aside; those whose size counts; and those that killed processes and the merger of the earlier
# format left.
_DAMAGED: Final = re.compile(rf"(vectors-.*\.sqlite|{salvage.SEGMENT.pattern}){re.escape(DAMAGED)}")
_COUNTED: Final = re.compile(rf"{re.escape(database.NAME)}(-journal)?|{_DAMAGED.pattern}")
_TEMPORARY: Final = re.compile(rf"{salvage.SEGMENT.pattern}{re.escape(TEMPORARY)}|compaction\.lock")


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
        self._database = database.Database(self._folder, partial(salvage.rescue, self._insert))
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
        there = self._database.run(lambda connection: _sql.holds(connection, keys, dimension), write=False)
        return np.asarray(there or [False] * len(keys), np.bool_)

    def get(self, keys: Sequence[bytes], dimension: int) -> CacheHits:
        """Return the vectors of these keys.

        Args:
            keys: Keys of `vector_keys`, any number; a key may come twice.
            dimension: Floats in a vector; a vector of another length counts as missing.

        Raises:
            CacheError: The folder cannot be read.
        """
        check_keys(keys)
        self._tidy()
        rows = self._database.run(lambda connection: _sql.find(connection, keys, dimension), write=False)
        there = [(number, row) for number, row in enumerate(rows or ()) if row is not None]
        sound, vectors = unpack(
            [keys[number] for number, _ in there], [record for _, (_, record) in there], dimension
        )
        mask = np.zeros(len(keys), np.bool_)
        mask[[number for number, _ in there]] = sound
        damaged = [
            (row[0], keys[number]) for (number, row), good in zip(there, sound, strict=True) if not good
        ]
        if damaged:
            self._drop(damaged, dimension)
        self._note_use({row[0] // _sql.BLOCK_RECORDS for _, row in there})
        return CacheHits(mask, vectors)

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
        good = normal(vectors)
        if not good.all():
            raise ValueError(f"vector {int(np.argmin(good))} is not finite or not of norm 1")
        if len(keys):
            self._tidy()
            self._insert(list(zip(keys, pack(keys, vectors), strict=True)), vectors.shape[1])

    def stats(self) -> CacheStats:
        """Return the size of the cache, with the vectors of all processes.

        Raises:
            CacheError: The folder cannot be read.
        """
        self._tidy()
        entries, *used = self._database.run(_sql.usage, write=False) or _sql.NO_USAGE
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
            self._folder.remove([*self._folder.ours(_DAMAGED), *self._folder.ours(_TEMPORARY)])
            if self._folder.path(database.NAME).exists():
                self._database.run(_sql.clear, write=True)
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
            room = sum(len(record) + _sql.RECORD_OVERHEAD_BYTES for _, record in records)
            if sizes.get(database.NAME, 0) + room > limit:
                self._folder.remove(damaged)
                limit = self.spec.limit_bytes
        with self._database.lock:
            marks, self._unwritten = self._unwritten, set()
        now = _sql.now()

        def work(connection: sqlite3.Connection) -> None:
            # Times of use go with the insertion, whose sync to the disk is paid anyway, and before the eviction.
            _sql.mark_used(connection, marks, now)
            _sql.insert(connection, records, dimension, used=now if used is None else used, limit_bytes=limit)

        self._database.run(work, write=True)

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
        used = _sql.now()
        try:
            # A reader does not wait for writers.
            self._database.run(
                lambda connection: _sql.mark_used(connection, marks, used), write=True, wait=False
            )
        except CacheError:  # a cache that is busy or read-only can still be read
            with self._database.lock:
                self._unwritten |= marks

    def _drop(self, damaged: Sequence[tuple[int, bytes]], dimension: int) -> None:
        logger.warning(
            "Damaged vectors in %s count as missing: %d.", self._folder.path(database.NAME), len(damaged)
        )
        with suppress(CacheError):
            self._database.run(lambda connection: _sql.drop(connection, damaged, dimension), write=True)

    def _tidy(self) -> None:
        """Convert files of the earlier format and remove files of killed writers, once in each process."""
        with self._database.lock:
            if self._tidied:
                return
            if self._folder.ours(salvage.SEGMENT):
                # Looked up again under the lock: another process may have converted them since.
                with self._database.files_lock():
                    salvage.convert(self._folder, self._insert)
            self._folder.sweep(_DAMAGED, DAMAGED_AGE_S)
            self._folder.sweep(_TEMPORARY, TEMPORARY_AGE_S)
            self._tidied = True
