"""Rows that the indices do not cover yet, held in memory.

LanceDB finds such rows too, but each question reads all of them again: 0.013 ms of CPU for the words of a row and 0.002
ms for its vector of 768 floats. While a run writes there are thousands of them. So a reader reads each of these rows
once, and asks LanceDB for the indexed rows only (`fast_search`).

Guarantees: no row is missed. LanceDB does not say which rows an index covers, only how many it does not. Row ids grow
with the fragments of a table, whose numbers are never used twice. So the rows that were added since the last version
whose indices covered everything are a superset of the rows outside the indices. Where this cannot be established, or
there are too many such rows, LanceDB searches them itself.
"""

from threading import Lock
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prefect_ollama.blocks.lance._fresh_scores import NO_ROWS, Fresh, Part, Rows, Stems, row_ids, since

# Number of rows up to which LanceDB itself searches them, in some 3 ms.
LANCE_ROWS: Final = 256

# Rows that are held at most: 200 MB for vectors of 768 floats, and as many bytes for longer ones.
MAX_ROWS: Final = 65_536
MAX_BYTES: Final = 256 * 2**20

# Versions in which a reader looks for one whose indices cover everything, at 1 ms each. A run commits some thousand
# rows a version, so the rows of more versions than these are too many anyway.
MAX_VERSIONS: Final = 100

# A row id is the number of a fragment and the row's place in it.
_PLACE_BITS: Final = 32


class FreshRows:
    """The rows of a table that no index covers, as far as they were read before. Several threads may use it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._version = -1
        self._seen: Fresh | None = None
        self._first: int | None = None
        self._parts: list[Part] = []
        self._stems = Stems()

    def of(self, table: Any) -> Fresh | None:
        """Return the rows outside the indices of a table; None if LanceDB itself searches them."""
        with self._lock:
            version = int(table.version)
            if version != self._version:
                self._seen = self._read(table)
                self._version = version
            return self._seen

    def _read(self, table: Any) -> Fresh | None:
        missing = _unindexed(table)
        width = table.schema.field("vector").type.list_size * 4
        most = min(MAX_ROWS, MAX_BYTES // width)
        if missing is None or not LANCE_ROWS < missing <= most or "words" not in table.schema.names:
            if not missing:  # all that was held is indexed by now
                self._first, self._parts = None, []
            return None
        first, count = self._first, -1
        if first is not None:
            count = int(table.count_rows(since(first)))
        if first is None or not missing <= count <= most:
            # Compaction moves indexed rows to a new fragment.
            first = _first_fresh(table)
            self._first, self._parts = first, []
            count = -1 if first is None else int(table.count_rows(since(first)))
        if first is None or not missing <= count <= most:
            return None
        rows = row_ids(table, since(first))
        known = np.concatenate([part.rows for part in self._parts] or [NO_ROWS[0]])
        new = np.setdiff1d(rows, known)
        if len(new):
            self._parts = [*self._parts, self._part(table, new)]
        self._parts = [part for part in self._parts if np.isin(part.rows, rows).any()]
        covers_all = count == int(table.count_rows())
        alive = tuple((part, np.isin(part.rows, rows)) for part in self._parts)
        return Fresh(first, alive, covers_all, self._stems)

    def _part(self, table: Any, rows: Rows) -> Part:
        found = table.search().where(since(int(rows[0]))).select(["words", "vector"]).with_row_id(True)
        read = found.to_arrow().sort_by("_rowid")
        read = read.filter(pa.array(np.isin(read["_rowid"].to_numpy(), rows)))
        vectors = pa.concat_arrays(read["vector"].chunks).flatten().to_numpy(zero_copy_only=False)
        vectors = vectors.reshape(len(read), -1)
        with np.errstate(invalid="ignore", divide="ignore"):
            vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        split = pa.concat_arrays(pc.split_pattern(read["words"], " ").chunks)
        terms = split.flatten().dictionary_encode()
        spelled = terms.dictionary.to_pylist()
        stems = self._stems.of(table, spelled)
        numbers = {stem: number for number, stem in enumerate(dict.fromkeys(stems))}
        of_term = np.array([numbers[stem] for stem in stems], np.int64)[terms.indices.to_numpy()]
        of_row = np.repeat(np.arange(len(read)), np.diff(split.offsets.to_numpy()))
        if "" in numbers:  # a row without words
            kept = of_term != numbers[""]
            of_term, of_row = of_term[kept], of_row[kept]
        keys, counts = np.unique(of_term * len(read) + of_row, return_counts=True)
        return Part(
            rows=read["_rowid"].to_numpy(),
            vectors=vectors,
            lengths=np.bincount(of_row, minlength=len(read)).astype(np.float64),
            numbers=numbers,
            starts=np.searchsorted(keys, np.arange(len(numbers) + 1) * len(read)),
            places=keys % len(read),
            counts=counts.astype(np.float64),
        )


def _unindexed(table: Any) -> int | None:
    """Return how many rows the index of words, or that of vectors, does not cover; None without an index of words."""
    found = {index.columns[0]: int(index.num_unindexed_rows) for index in table.list_indices()}
    return max(found["words"], found.get("vector", 0)) if "words" in found else None


def _first_fresh(table: Any) -> int | None:
    """Return a row id that no row of the last version whose indices covered everything reaches."""
    at = int(table.version)
    versions = sorted((int(each["version"]) for each in table.list_versions()), reverse=True)
    try:
        for version in [each for each in versions if each < at][:MAX_VERSIONS]:
            try:
                table.checkout(version)
            except (ValueError, RuntimeError, OSError):  # maintenance has just deleted it, and all before it
                return None
            if _unindexed(table) == 0:
                return _next_fragment(table) << _PLACE_BITS
        return None
    finally:
        table.checkout(at)


def _next_fragment(table: Any) -> int:
    """Return a number above those of all fragments, found by halving: to read all row ids would take far longer."""
    if not int(table.count_rows()):
        return 0
    low, high = 0, 1
    while int(table.count_rows(since(high << _PLACE_BITS))):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if int(table.count_rows(since(middle << _PLACE_BITS))) else (low, middle)
    return high
