"""The vector cache of one process: what `get` returns was put under that key, and what `put` took is on disk.

Processes and hosts that share the folder see each other's vectors and need nothing of each other: whoever is
killed at any moment leaves the folder as others can use it. A damaged file counts as missing. Threads may
share one `VectorCache`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from prefect_ollama.blocks.cache import compaction, segment
from prefect_ollama.blocks.cache.folder import Folder, Listing, is_gone
from prefect_ollama.blocks.cache.index import KeyIndex
from prefect_ollama.blocks.cache.keys import Keys, as_numbers
from prefect_ollama.blocks.cache.models import Models
from prefect_ollama.blocks.cache.spec import CacheSpec, CacheStats, Found
from prefect_ollama.blocks.errors import CacheError
from prefect_ollama.blocks.wire.answer import Vectors
from prefect_ollama.blocks.wire.fingerprint import Fingerprint

logger = logging.getLogger(__name__)

ROUNDS: Final = 5
"""How often `get` and `clear` look again when segments vanish under them; each round, others did their work."""
USED_EVERY: Final = 3600.0
"""Seconds for which a segment, once marked as used, is not marked again."""


@cache
def shared_cache(spec: CacheSpec) -> VectorCache:
    """Return the cache of this process for a folder: its threads share one index."""
    return VectorCache(spec)


class VectorCache:
    """The cache in one folder. Opening it touches nothing.

    Args:
        spec: Where it is and how large it may be.
    """

    def __init__(self, spec: CacheSpec) -> None:
        self.spec = spec
        self._folder = Folder(spec)
        self._models = Models(self._folder)
        self._lock = threading.RLock()  # holds the four below together
        self._index = KeyIndex()
        self._changes = 0  # how often segments came, went, or failed to be read
        self._distrusted: set[str] = set()
        self._marked: dict[str, float] = {}

    def model_id(self, fingerprint: Fingerprint) -> str:
        """Return the id of a model in the keys of this cache (`VectorSalt.model`).

        Raises:
            CacheError: The folder cannot be read, or the model is new and cannot be written.
        """
        with self._lock:
            return self._models.id_of(fingerprint)

    def holds(self, keys: Sequence[bytes], dimension: int) -> NDArray[np.bool_]:
        """Return which vectors are there, going by the keys alone; a vector is read and checked by `get` only.

        Args:
            keys: Keys of `vector_keys`.
            dimension: Floats in a vector.

        Raises:
            CacheError: The folder cannot be read.
        """
        self._refresh()
        with self._lock:
            segments, _ = self._index.locate(as_numbers(keys), dimension)
        return segments >= 0

    def get(self, keys: Sequence[bytes], dimension: int) -> Found:
        """Look vectors up.

        Args:
            keys: Keys of `vector_keys`, any number, doubled ones too.
            dimension: Floats in a vector; one of another length counts as missing.

        Raises:
            CacheError: The folder cannot be read.
        """
        wanted = as_numbers(keys)
        mask = np.zeros(len(keys), np.bool_)
        vectors = np.empty((len(keys), dimension), np.float32)
        for _ in range(ROUNDS):
            seen = self._changes
            self._fill(wanted, np.flatnonzero(~mask), mask, vectors)
            if mask.all():
                break
            # A listing taken while segments are merged may show neither the old nor the new ones, so only
            # one that brings no change is believed.
            self._refresh()
            if self._changes == seen:
                break
        return Found(mask, vectors if mask.all() else vectors[mask])

    def put(self, keys: Sequence[bytes], vectors: Vectors) -> None:
        """Keep vectors; they are on disk when this returns. Those that are there already are left alone.

        Now and then a call also merges small segments (at most 32 MiB) or removes what the limit asks for.

        Args:
            keys: A key for each vector.
            vectors: float32 of shape (keys, dimension), finite and of norm 1.

        Raises:
            ValueError: The shapes do not fit, or a vector is not finite or not of norm 1; nothing was kept.
            CacheError: The folder cannot be written; nothing was kept.
        """
        wanted = as_numbers(keys)
        if vectors.ndim != 2 or len(vectors) != len(keys):
            raise ValueError(f"{len(keys)} keys need as many vectors, not an array of shape {vectors.shape}")
        vectors = np.ascontiguousarray(vectors, np.float32)
        good = segment.normal(vectors)
        if not good.all():
            raise ValueError(f"vector {int(np.argmin(good))} is not finite or not of norm 1")
        # What another process removed is not there any more, so look before anything is left out.
        listing = self._refresh()
        _, first = np.unique(wanted, axis=0, return_index=True)
        with self._lock:
            known, _ = self._index.locate(wanted, vectors.shape[1])
        fresh = np.sort(first[known[first] < 0])
        if not len(fresh):
            return
        kept = wanted[fresh]
        name = self._folder.publish(kept, segment.rows_of(kept, vectors[fresh]))
        with self._lock:
            self._learn([(name, kept)])
            self._marked[name] = time.monotonic()
        self._keep_up(Listing((*listing.segments, name), listing.damaged, listing.temporary), name)

    def stats(self) -> CacheStats:
        """Return what the cache holds, all processes' vectors counted.

        Raises:
            CacheError: The folder cannot be read.
        """
        return self._folder.stats()

    def clear(self) -> CacheStats:
        """Empty the cache. Others may go on reading and writing; what they put after it returned stays.

        Returns:
            What it held.

        Raises:
            CacheError: A file cannot be removed.
        """
        held = self.stats()
        # Again until nothing is left: a merge that was under way may have published what it had read before.
        # Temporary files go as well, so that such a merge finds it has nothing to publish.
        for _ in range(ROUNDS):
            listing = self._folder.listing()
            names = [*listing.segments, *listing.damaged, *listing.temporary]
            if not names:
                break
            self._folder.remove(names)
        self._refresh()
        return held

    def _refresh(self) -> Listing:
        """Make the index follow the folder; return what is there."""
        damaged: list[segment.DamagedError] = []
        loaded = []
        with self._lock:
            # Under the lock, so that no thread's older listing undoes what another has put since.
            listing = self._folder.listing()
            here, known = set(listing.segments), self._index.segments
            self._forget(known - here)
            self._distrusted &= here
            for name in here - known - self._distrusted:
                with self._coping(name, damaged):
                    loaded.append((name, segment.read_keys(self._folder.path(name))))
            self._learn(loaded)
        for each in damaged:
            self._folder.set_aside(each)
        return self._refresh() if damaged else listing

    def _fill(
        self, wanted: Keys, missing: NDArray[np.intp], mask: NDArray[np.bool_], vectors: Vectors
    ) -> None:
        """Read those of the missing that the index knows."""
        with self._lock:
            segments, rows = self._index.locate(wanted[missing], vectors.shape[1])
            names = {number: self._index.name(number) for number in np.unique(segments).tolist()}
        order = np.lexsort((rows, segments))
        order = order[segments[order] >= 0]
        if not len(order):
            return
        damaged: list[segment.DamagedError] = []
        for part in np.split(order, np.flatnonzero(np.diff(segments[order])) + 1):
            name, places = names[int(segments[part[0]])], missing[part]
            assert name is not None  # it was in the index under the same lock
            with self._coping(name, damaged):
                read = segment.read_rows(self._folder.path(name), rows[part])
                good = segment.sound(wanted[places], read)
                vectors[places[good]] = read["vector"][good]
                mask[places[good]] = True
                if not good.all():
                    raise segment.DamagedError(name, "a vector is not what was written")
                self._mark_used(name)
        for each in damaged:
            self._folder.set_aside(each)

    @contextmanager
    def _coping(self, name: str, damaged: list[segment.DamagedError]) -> Iterator[None]:
        """Read from a segment; where it is gone, damaged or unreadable, do without it from now on."""
        try:
            yield
        except segment.DamagedError as damage:
            damaged.append(damage)
            self._distrust(name)
        except OSError as error:
            if is_gone(error):
                self._forget({name})
                return
            logger.warning("%s cannot be read and counts as missing: %s.", self._folder.path(name), error)
            self._distrust(name)

    def _distrust(self, name: str) -> None:
        with self._lock:
            self._forget({name})
            self._distrusted.add(name)

    def _learn(self, segments: Collection[tuple[str, Keys]]) -> None:
        with self._lock:
            self._changes += bool(segments)
            self._index.add(segments)

    def _forget(self, names: Collection[str]) -> None:
        with self._lock:
            self._changes += bool(names)
            self._index.drop(names)
            for name in names:
                self._marked.pop(name, None)

    def _mark_used(self, name: str) -> None:
        now = time.monotonic()
        with self._lock:
            if now - self._marked.get(name, -USED_EVERY) < USED_EVERY:
                return
            self._marked[name] = now
        self._folder.mark_used(name)

    def _keep_up(self, listing: Listing, written: str) -> None:
        """Hold the limit, remove left-overs, merge small segments."""
        try:
            removed = self._folder.keep_to_limit(listing)
            self._forget(removed)
            if listing.temporary or listing.damaged:
                self._folder.sweep(listing, written)
            left = [name for name in listing.segments if name not in {*removed, *self._distrusted}]
            names = compaction.mergeable(left, self.spec.limit_bytes)
            merged = compaction.merge(self._folder, names) if names else None
        except segment.DamagedError as damage:
            self._distrust(damage.name)
            self._folder.set_aside(damage)
        except CacheError as error:
            # What was put is safe; that there is no room to tidy up is no reason to say it is not.
            logger.warning("The vector cache could not be tidied up. %s", error)
        else:
            if merged is not None:
                with self._lock:
                    self._learn([merged])
                    self._marked[merged[0]] = time.monotonic()
                    self._forget(names)
