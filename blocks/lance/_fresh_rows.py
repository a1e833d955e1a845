"""Rows that the indices do not cover yet, held in memory.

LanceDB finds such rows too, but each question reads all of them again: 0.013 ms of CPU for the words of a row and
0.002 ms for its vector of 768 floats. While a run writes there are thousands of them. So a reader reads each once,
and asks LanceDB for the indexed rows only (`fast_search`).

Guarantees: no row is missed. LanceDB does not say which rows an index covers, only how many it does not. Row ids grow
with the fragments of a table, whose numbers are never used twice. So the rows that were added since the last version
whose indices covered everything are a superset of the rows outside the indices. Where this cannot be established, or
there are too many such rows, LanceDB searches them itself.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from prefect_ollama.blocks.lance.filters import both

# Up to so many rows LanceDB searches by itself, in some 3 ms.
FEW_ROWS: Final = 256

# Rows that are held at most: 200 MB for vectors of 768 floats, and as many bytes for longer ones.
MOST_ROWS: Final = 65_536
MOST_BYTES: Final = 256 * 2**20

# Versions in which a reader looks for one whose indices cover everything, at 1 ms each. A run commits some thousand
# rows a version, so the rows of more versions than these are too many anyway.
VERSIONS: Final = 100

# Rows that the index finds best by whose scores it is learned what each word counts there.
LEARNED_FROM: Final = 64

# Parameters of BM25 in LanceDB (lance-index, `scalar/inverted/scorer.rs`), the usual ones.
K1: Final = 1.2
B: Final = 0.75

# A row id is the number of a fragment and the row's place in it.
_PLACE_BITS: Final = 32

_Rows = NDArray[np.uint64]
_Scores = NDArray[np.float64]
NO_ROWS: Final = (np.zeros(0, np.uint64), np.zeros(0, np.float64))


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows that were read at once.

    Attributes:
        rows: Their row ids, ascending, shape (n,).
        vectors: Their vectors, of unit length; NaN for a zero vector, shape (n, dimension).
        lengths: How many words each has, shape (n,).
        numbers: The number of each word of these rows.
        starts: Where the entries of word number i begin in the two arrays below; one more at the end.
        places: Places in `rows` of the rows that hold the word.
        counts: How often each of these holds it.
    """

    rows: _Rows
    vectors: NDArray[np.float32]
    lengths: _Scores
    numbers: dict[str, int]
    starts: NDArray[np.int64]
    places: NDArray[np.int64]
    counts: _Scores

    def holding(self, word: str) -> tuple[NDArray[np.int64], _Scores]:
        """Return the places of the rows that hold a word, and how often they do."""
        number = self.numbers.get(word)
        if number is None:
            return self.places[:0], self.counts[:0]
        entries = slice(self.starts[number], self.starts[number + 1])
        return self.places[entries], self.counts[entries]


class FreshRows:
    """The rows of a table that no index covers, as far as they were read before. Several threads may use it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._version = -1
        self._seen: Fresh | None = None
        self._first: int | None = None
        self._parts: list[_Part] = []
        self._stems = Stems()

    def of(self, table: Any) -> Fresh | None:
        """Return the rows outside the indices of a table; None where LanceDB shall search them itself.

        Args:
            table: The chunk table, at one version.
        """
        with self._lock:
            version = int(table.version)
            if version != self._version:
                self._seen = self._read(table)
                self._version = version
            return self._seen

    def _read(self, table: Any) -> Fresh | None:
        missing = _unindexed(table)
        width = table.schema.field("vector").type.list_size * 4
        most = min(MOST_ROWS, MOST_BYTES // width)
        if missing is None or not FEW_ROWS < missing <= most or "words" not in table.schema.names:
            if not missing:  # all that was held is indexed by now
                self._first, self._parts = None, []
            return None
        first, count = self._first, -1
        if first is not None:
            count = int(table.count_rows(_since(first)))
        if first is None or not missing <= count <= most:
            # Compaction moves indexed rows to a new fragment.
            first = _first_fresh(table)
            self._first, self._parts = first, []
            count = -1 if first is None else int(table.count_rows(_since(first)))
        if first is None or not missing <= count <= most:
            return None
        rows = _row_ids(table, _since(first))
        known = np.concatenate([part.rows for part in self._parts] or [NO_ROWS[0]])
        new = np.setdiff1d(rows, known)
        if len(new):
            self._parts = [*self._parts, self._part(table, new)]
        self._parts = [part for part in self._parts if np.isin(part.rows, rows).any()]
        covers_all = count == int(table.count_rows())
        alive = tuple((part, np.isin(part.rows, rows)) for part in self._parts)
        return Fresh(first, alive, covers_all, self._stems)

    def _part(self, table: Any, rows: _Rows) -> _Part:
        found = table.search().where(_since(int(rows[0]))).select(["words", "vector"]).with_row_id(True)
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
        return _Part(
            rows=read["_rowid"].to_numpy(),
            vectors=vectors,
            lengths=np.bincount(of_row, minlength=len(read)).astype(np.float64),
            numbers=numbers,
            starts=np.searchsorted(keys, np.arange(len(numbers) + 1) * len(read)),
            places=keys % len(read),
            counts=counts.astype(np.float64),
        )


class Stems:
    """The words of the index that words become, as its tokenizer makes them; each is asked for once."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def of(self, table: Any, words: Sequence[str]) -> list[str]:
        """Return the stem of each word."""
        new = list(dict.fromkeys(word for word in words if word and word not in self._known))
        stems = _tokens(table, " ".join(new)) if new else []
        if len(stems) != len(new):  # a word that the tokenizer splits or drops
            alone = [_tokens(table, word) for word in new]
            stems = [each[0] if len(each) == 1 else word for word, each in zip(new, alone, strict=True)]
        self._known.update(zip(new, stems, strict=True))
        return [self._known.get(word, word) for word in words]


@dataclass(frozen=True, slots=True)
class Fresh:
    """Rows outside the indices, at one version of a table.

    Attributes:
        first: The least row id that such a row has.
        parts: The rows, and which of them are still there.
        everything: Whether the table has no others.
    """

    first: int
    parts: tuple[tuple[_Part, NDArray[np.bool_]], ...]
    everything: bool
    _stems: Stems

    def near(self, table: Any, vector: NDArray[np.float32], count: int, where: str) -> tuple[_Rows, _Scores]:
        """Return the rows whose vectors are nearest, the nearest first, and their cosines.

        Args:
            table: The table, at the same version.
            vector: Shape (dimension,).
            count: How many.
            where: SQL filter, or empty.
        """
        unit = np.asarray(vector, np.float32)
        unit = unit / np.linalg.norm(unit)
        # `@` would use threads, which wait for each other on a busy machine, and takes no less time on two cores.
        cosines = (np.einsum("rd,d->r", part.vectors, unit) for part, _ in self.parts)
        return self._best(table, (each.astype(np.float64) for each in cosines), count, where)

    def holding(
        self, table: Any, asked: str, indexed: tuple[_Rows, _Scores], count: int, where: str
    ) -> tuple[_Rows, _Scores]:
        """Return the rows that hold words of a question, the best first, and their BM25.

        What each word counts is learned from the scores of indexed rows, so that both have one scale.

        Args:
            table: The table, at the same version.
            asked: Words, as `asked_words` gives them.
            indexed: Rows that the index finds for them without the filter, the best first, with their scores:
                `LEARNED_FROM`, or all there are.
            count: How many.
            where: SQL filter, or empty.
        """
        words = list(dict.fromkeys(self._stems.of(table, asked.split())))
        held = {word: sum(len(part.holding(word)[0]) for part, _ in self.parts) for word in words}
        held = {word: rows for word, rows in held.items() if rows}
        if not held:
            return NO_ROWS
        average = float(np.concatenate([part.lengths for part, _ in self.parts]).mean())
        weights = self._weights(table, held, indexed, average)

        def scores() -> Iterator[_Scores]:
            for part, _ in self.parts:
                found = np.full(len(part.rows), np.nan)
                for word, weight in weights.items():
                    places, counts = part.holding(word)
                    term = _saturated(counts, part.lengths[places], average)
                    found[places] = np.nan_to_num(found[places]) + weight * term
                yield found

        return self._best(table, scores(), count, where)

    def _weights(
        self, table: Any, held: Mapping[str, int], indexed: tuple[_Rows, _Scores], average: float
    ) -> dict[str, float]:
        """Return the inverse document frequency of each word, as the scores of indexed rows have it.

        A score is a sum over the words. So the scores of some rows, and how often these hold each word, tell what the
        words count. Of a word that none of these rows holds only the fresh rows tell.

        Args:
            table: The table.
            held: The words, and how many fresh rows hold each.
            indexed: As for `holding`.
            average: Mean number of words of a row.
        """
        rows, scores = (values[:LEARNED_FROM] for values in indexed)
        total = int(table.count_rows())
        # If the index finds fewer rows, no other row holds the word.
        growth = total / sum(len(part.rows) for part, _ in self.parts) if len(rows) == LEARNED_FROM else 1.0
        weights = {word: _weight(count * growth, total) for word, count in held.items()}
        if not len(rows):
            return weights
        read = table.take_row_ids(rows.tolist()).select(["words"]).with_row_id().to_arrow()
        texts = dict(zip(read["_rowid"].to_pylist(), read["words"].to_pylist(), strict=True))
        counted = [Counter(self._stems.of(table, texts[row].split())) for row in rows.tolist()]
        factors = np.array(
            [[_saturated(each[word], each.total(), average) for word in held] for each in counted]
        )
        solved = np.linalg.lstsq(factors, scores, rcond=None)[0]
        for word, learned, column in zip(held, solved.tolist(), factors.T, strict=True):
            if learned > 0 and column.any():
                weights[word] = learned
        return weights

    def _best(self, table: Any, scores: Iterable[_Scores], count: int, where: str) -> tuple[_Rows, _Scores]:
        allowed = _row_ids(table, both(_since(self.first), where)) if where else None
        found, values = [], []
        for (part, alive), score in zip(self.parts, scores, strict=True):
            kept = alive & np.isfinite(score)
            if allowed is not None:
                kept &= np.isin(part.rows, allowed)
            found.append(part.rows[kept])
            values.append(score[kept])
        rows, all_scores = np.concatenate(found), np.concatenate(values)
        order = np.lexsort((rows, -all_scores))[:count]
        return rows[order], all_scores[order]


def _weight(rows: float, total: int) -> float:
    """Return the inverse document frequency of a word that so many of all rows hold."""
    return math.log(1 + (total - rows + 0.5) / (rows + 0.5))


def _saturated(count: Any, length: Any, average: float) -> Any:
    """Return what a word's occurrences count in a row, times what the word counts: the term of BM25."""
    return count * (K1 + 1) / (count + K1 * (1 - B + B * length / average))


def _tokens(table: Any, text: str) -> list[str]:
    return [token.text for token in table.tokenize(text, column="words")]


def _since(row: int) -> str:
    return f"_rowid >= {row}"


def _row_ids(table: Any, where: str) -> _Rows:
    found: _Rows = table.search().where(where).select(["_rowid"]).to_arrow()["_rowid"].to_numpy()
    return np.sort(found)


def _unindexed(table: Any) -> int | None:
    """Return how many rows the index of words, or that of vectors, does not cover; None without an index of words."""
    found = {index.columns[0]: int(index.num_unindexed_rows) for index in table.list_indices()}
    return max(found["words"], found.get("vector", 0)) if "words" in found else None


def _first_fresh(table: Any) -> int | None:
    """Return a row id that no row of the last version whose indices covered everything reaches."""
    at = int(table.version)
    versions = sorted((int(each["version"]) for each in table.list_versions()), reverse=True)
    try:
        for version in [each for each in versions if each < at][:VERSIONS]:
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
    while int(table.count_rows(_since(high << _PLACE_BITS))):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if int(table.count_rows(_since(middle << _PLACE_BITS))) else (low, middle)
    return high
