"""The rows that the indices do not cover yet, scored as the indices score theirs: cosines, and BM25 on one scale.

LanceDB does not give the weight of a word. So the weight is computed from the scores of indexed rows.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from prefect_ollama.blocks.lance.filters import both

# Number of the best indexed rows, from whose scores the weight of each word is learned.
LEARNING_ROWS: Final = 64

# Parameters of BM25 in LanceDB (lance-index, `scalar/inverted/scorer.rs`), the usual ones.
K1: Final = 1.2
B: Final = 0.75

Rows = NDArray[np.uint64]
Scores = NDArray[np.float64]
NO_ROWS: Final = (np.zeros(0, np.uint64), np.zeros(0, np.float64))


@dataclass(frozen=True, slots=True)
class Part:
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

    rows: Rows
    vectors: NDArray[np.float32]
    lengths: Scores
    numbers: dict[str, int]
    starts: NDArray[np.int64]
    places: NDArray[np.int64]
    counts: Scores

    def holding(self, word: str) -> tuple[NDArray[np.int64], Scores]:
        """Return the places of the rows that hold a word, and how often they do."""
        number = self.numbers.get(word)
        if number is None:
            return self.places[:0], self.counts[:0]
        entries = slice(self.starts[number], self.starts[number + 1])
        return self.places[entries], self.counts[entries]


class Stems:
    """The stems of words, as the tokenizer of the index makes them; each word is looked up once."""

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
    parts: tuple[tuple[Part, NDArray[np.bool_]], ...]
    everything: bool
    _stems: Stems

    def near(self, table: Any, vector: NDArray[np.float32], count: int, where: str) -> tuple[Rows, Scores]:
        """Return the rows nearest to a vector of shape (dimension,), the nearest first, and their cosines."""
        unit = np.asarray(vector, np.float32)
        unit = unit / np.linalg.norm(unit)
        # `@` would use threads, which wait for each other on a busy machine, and takes no less time on two cores.
        cosines = (np.einsum("rd,d->r", part.vectors, unit) for part, _ in self.parts)
        return self._best(table, (each.astype(np.float64) for each in cosines), count, where)

    def holding(
        self, table: Any, asked: str, indexed: tuple[Rows, Scores], count: int, where: str
    ) -> tuple[Rows, Scores]:
        """Return the rows that hold words of a question, the best first, and their BM25.

        What each word counts is learned from the scores of indexed rows, so that both have one scale.

        Args:
            table: The table, at the same version.
            asked: Words, as `asked_words` gives them.
            indexed: Rows that the index finds for them without the filter, the best first, with their scores:
                `LEARNING_ROWS`, or all there are.
        """
        words = list(dict.fromkeys(self._stems.of(table, asked.split())))
        held = {word: sum(len(part.holding(word)[0]) for part, _ in self.parts) for word in words}
        held = {word: rows for word, rows in held.items() if rows}
        if not held:
            return NO_ROWS
        average = float(np.concatenate([part.lengths for part, _ in self.parts]).mean())
        weights = self._weights(table, held, indexed, average)

        def scores() -> Iterator[Scores]:
            for part, _ in self.parts:
                found = np.full(len(part.rows), np.nan)
                for word, weight in weights.items():
                    places, counts = part.holding(word)
                    term = _saturated(counts, part.lengths[places], average)
                    found[places] = np.nan_to_num(found[places]) + weight * term
                yield found

        return self._best(table, scores(), count, where)

    def _weights(
        self, table: Any, held: Mapping[str, int], indexed: tuple[Rows, Scores], average: float
    ) -> dict[str, float]:
        """Return the inverse document frequency of each word, as the scores of indexed rows have it.

        A score is a sum over the words. So the weights of words follow from the scores of some rows and the number of
        each word in these rows. The weight of a word that none of these rows holds comes from the fresh rows alone.

        Args:
            held: The words, and how many fresh rows hold each.
            indexed: As for `holding`.
            average: Mean number of words of a row.
        """
        rows, scores = (values[:LEARNING_ROWS] for values in indexed)
        total = int(table.count_rows())
        # If the index finds fewer rows, no other row holds the word.
        growth = total / sum(len(part.rows) for part, _ in self.parts) if len(rows) == LEARNING_ROWS else 1.0
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

    def _best(self, table: Any, scores: Iterable[Scores], count: int, where: str) -> tuple[Rows, Scores]:
        allowed = row_ids(table, both(since(self.first), where)) if where else None
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
    """Return the frequency of a word in a row, saturated as in BM25."""
    return count * (K1 + 1) / (count + K1 * (1 - B + B * length / average))


def _tokens(table: Any, text: str) -> list[str]:
    return [token.text for token in table.tokenize(text, column="words")]


def since(row: int) -> str:
    """Return the filter for rows from this row id on."""
    return f"_rowid >= {row}"


def row_ids(table: Any, where: str) -> Rows:
    """Return the ids of the rows that a filter lets through, ascending."""
    found: Rows = table.search().where(where).select(["_rowid"]).to_arrow()["_rowid"].to_numpy()
    return np.sort(found)
