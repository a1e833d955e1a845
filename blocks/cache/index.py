"""Which segment holds a key, and in which row: 24 bytes an entry, whatever the dimension.

Entries stand in a few sorted runs, each at least twice as long as the next (a log-structured merge), so that
a new segment costs a small sort and a look-up a handful of binary searches. Doubled keys stay in, because
either copy may be the one that is left.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefect_ollama.blocks.cache.keys import Keys
from prefect_ollama.blocks.cache.segment import shape

Numbers = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """Entries sorted by the first half of their keys."""

    heads: NDArray[np.uint64]
    tails: NDArray[np.uint64]
    segments: Numbers
    rows: Numbers

    def find(self, keys: Keys, usable: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the place of each key in this run within a usable segment, -1 where it has none."""
        found = np.full(len(keys), -1, np.int64)
        at = np.searchsorted(self.heads, keys[:, 0])
        pending = np.arange(len(keys))
        while True:
            pending = pending[at[pending] < len(self.heads)]
            pending = pending[self.heads[at[pending]] == keys[pending, 0]]
            if not len(pending):
                return found
            here = at[pending]
            match = (self.tails[here] == keys[pending, 1]) & usable[self.segments[here]]
            found[pending[match]] = here[match]
            pending = pending[~match]
            at[pending] += 1


def _sorted_run(*parts: Iterable[NDArray[Any]]) -> _Run:
    heads, tails, segments, rows = (np.concatenate(list(part)) for part in parts)
    order = np.argsort(heads, kind="stable")
    return _Run(heads[order], tails[order], segments[order], rows[order])


class KeyIndex:
    """The index of one process. It is not safe among threads; its owner holds a lock."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []
        self._numbers: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._dimensions = np.zeros(0, np.int32)  # by segment number; 0 where it is gone

    def __len__(self) -> int:
        return sum(len(run.heads) for run in self._runs)

    @property
    def nbytes(self) -> int:
        """Memory of the entries, in bytes."""
        return sum(
            each.nbytes for run in self._runs for each in (run.heads, run.tails, run.segments, run.rows)
        )

    @property
    def segments(self) -> set[str]:
        """Names of the segments that are in the index."""
        return set(self._numbers)

    def add(self, segments: Iterable[tuple[str, Keys]]) -> None:
        """Take in segments, each with the keys of its rows in order."""
        added: list[tuple[int, Keys]] = []
        dimensions: list[int] = []
        for name, keys in segments:
            if name in self._numbers:
                continue
            number = len(self._dimensions) + len(dimensions)
            self._numbers[name], self._names[number] = number, name
            dimensions.append((shape(name) or (0, 0))[1])
            added.append((number, keys))
        if not added:
            return
        self._dimensions = np.append(self._dimensions, np.asarray(dimensions, np.int32))
        self._runs.append(
            _sorted_run(
                (keys[:, 0] for _, keys in added),
                (keys[:, 1] for _, keys in added),
                (np.full(len(keys), number, np.int32) for number, keys in added),
                (np.arange(len(keys), dtype=np.int32) for _, keys in added),
            )
        )
        count = 1
        size = len(self._runs[-1].heads)
        while count < len(self._runs) and len(self._runs[-count - 1].heads) <= 2 * size:
            count += 1
            size += len(self._runs[-count].heads)
        if count > 1:
            self._merge(count)

    def drop(self, names: Iterable[str]) -> None:
        """Forget segments; their entries leave memory when they are more than half of it."""
        before = len(self._names)
        for name in names:
            number = self._numbers.pop(name, None)
            if number is not None:
                del self._names[number]
                self._dimensions[number] = 0
        if len(self._names) == before:
            return
        alive = self._dimensions > 0
        dead = sum(len(run.heads) - int(np.count_nonzero(alive[run.segments])) for run in self._runs)
        if 2 * dead > len(self):
            self._merge(len(self._runs))

    def _merge(self, count: int) -> None:
        alive = self._dimensions > 0
        kept = [(run, alive[run.segments]) for run in self._runs[-count:]]
        del self._runs[-count:]
        merged = _sorted_run(
            (run.heads[keep] for run, keep in kept),
            (run.tails[keep] for run, keep in kept),
            (run.segments[keep] for run, keep in kept),
            (run.rows[keep] for run, keep in kept),
        )
        if len(merged.heads):
            self._runs.append(merged)

    def locate(self, keys: Keys, dimension: int) -> tuple[Numbers, Numbers]:
        """Return segment number and row of each key, -1 where no vector of that dimension is known."""
        segments = np.full(len(keys), -1, np.int32)
        rows = np.full(len(keys), -1, np.int32)
        usable = self._dimensions == dimension
        missing = np.arange(len(keys))
        for run in reversed(self._runs):
            places = run.find(keys[missing], usable)
            there = places >= 0
            segments[missing[there]] = run.segments[places[there]]
            rows[missing[there]] = run.rows[places[there]]
            missing = missing[~there]
            if not len(missing):
                break
        return segments, rows

    def name(self, number: int) -> str | None:
        """Return the name of a segment, or None where it has left the index since."""
        return self._names.get(number)
