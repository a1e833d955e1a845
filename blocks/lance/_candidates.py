"""Rows that may answer a question, by vector, by words and by both: their row ids and scores, and nothing else.

Guarantees: rows that no index covers yet are among them, from memory (`FreshRows`) or found by LanceDB. Where a filter
leaves few rows, the nearest vectors are exact.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from prefect_ollama.blocks.lance._fresh_scores import LEARNING_ROWS, NO_ROWS, Fresh
from prefect_ollama.blocks.lance._indices import cells_for, vector_index
from prefect_ollama.blocks.lance._words import asked_words

# Share of the index's cells that a search by vector looks into. Recall of the ten nearest among the 100,000
# vectors of `benchmarks.search` is 0.994 with a tenth of them and 1.000 with a quarter.
PROBED_SHARE: Final = 0.2

MIN_PROBES: Final = 32
MAX_PROBES: Final = 64

# The index keeps numbers of 8 bits. Three times as many rows are compared again by their own vectors: so recall
# is as good as with ten times as many (0.988 becomes 0.994 where a tenth of the cells is looked into).
REFINE_FACTOR: Final = 3

# Rows up to which a search with a filter compares all vectors, which takes some 10 ms.
EXACT_ROWS: Final = 5_000


# Number of rows of each search that are fused: a row that is far down both lists may come first in their union.
FUSED_ROWS: Final = 150

# Weight of the words' scores for a short question; the vectors' have the rest. docs/searching.md has the figures
# by which these three numbers were chosen.
TEXT_WEIGHT: Final = 0.45

# Maximum number of different words in a short question. Many words of a longer one say how to answer, and are in no
# passage that answers, but BM25 counts rare ones most. So the weight of words decreases with the number of words in a
# question.
SHORT_QUESTION_WORDS: Final = 11


@dataclass(frozen=True, slots=True)
class Candidates:
    """Rows, the best first.

    Attributes:
        rows: Their row ids, which hold for the version of the table that was asked.
        scores: Cosine similarity or BM25, the larger the better.
        all: Whether the table has no others.
    """

    rows: tuple[int, ...] = ()
    scores: tuple[float, ...] = ()
    all: bool = True


# Row ids and scores, the best first.
_Found = tuple[NDArray[np.uint64], NDArray[np.float64]]


def by_vector(
    table: Any,
    vector: NDArray[np.float32],
    count: int,
    where: str,
    *,
    exact: bool = True,
    fresh: Fresh | None = None,
) -> Candidates:
    """Return the rows of a table, at one version, whose vectors are nearest by cosine.

    Args:
        vector: Shape (dimension,).
        exact: Whether their order is that of their own vectors, and not of the index's 8 bits.
        fresh: The rows outside the indices; None if LanceDB itself searches them.
    """
    if fresh is not None and not fresh.everything and vector_index(table) is None:
        fresh = None
    if fresh is not None and fresh.everything:
        return _joined(NO_ROWS, fresh.near(table, vector, count, where), count)

    def query() -> Any:
        return table.search(vector).distance_type("cosine")

    def indexed(least: int, most: int) -> pa.Table:
        asked = query().minimum_nprobes(least).maximum_nprobes(most)
        asked = asked if fresh is None else asked.fast_search()
        return _answer(asked.refine_factor(REFINE_FACTOR) if exact else asked, count, where, "_distance")

    if where and int(table.count_rows(where)) <= EXACT_ROWS:
        fresh = None
        found = _answer(query().bypass_vector_index(), count, where, "_distance")
    else:
        probes = min(max(MIN_PROBES, round(PROBED_SHARE * cells_for(int(table.count_rows())))), MAX_PROBES)
        # Without a limit (0), LanceDB 0.40 reads all cells of the index (`explain_plan`), also where these have enough
        # rows. Without a limit this would take longer than all other steps. So only a search with a filter, which may
        # leave few rows in the cells, has no limit.
        found = indexed(probes, 0 if where else probes)
        if not where and len(found) < count:
            found = indexed(probes, 0)
    near = _finite(found, 1.0 - found["_distance"].to_numpy().astype(np.float64))
    if fresh is None:
        return _candidates(near, len(found) < count)
    return _joined(near, fresh.near(table, vector, count, where), count)


def by_words(table: Any, text: str, count: int, where: str, *, fresh: Fresh | None = None) -> Candidates:
    """Return the rows of a table, at one version, that hold words of a text, by BM25; none where it has no words.

    `fresh` is as for `by_vector`.
    """
    from lancedb.query import MatchQuery

    # A table that an earlier version made, and that nobody could write to since, has an index over `text` only.
    column, asked = ("words", asked_words(text)) if "words" in table.schema.names else ("text", text)
    if not asked:
        return Candidates()
    match = MatchQuery(asked, column)  # type: ignore[call-arg]  # its defaults are pydantic's

    def found(count: int, where: str) -> tuple[pa.Table, _Found]:
        query = table.search(match, query_type="fts")
        rows = _answer(query if fresh is None else query.fast_search(), count, where, "_score")
        return rows, _finite(rows, rows["_score"].to_numpy().astype(np.float64))

    if fresh is None:
        rows, worded = found(count, where)
        return _candidates(worded, len(rows) < count)
    worded = found(max(count, LEARNING_ROWS), where)[1]
    learned = found(LEARNING_ROWS, "")[1] if where else worded
    return _joined(worded, fresh.holding(table, asked, learned, count, where), count)


def _answer(query: Any, count: int, where: str, score: str) -> pa.Table:
    if where:
        query = query.where(where)
    return query.select([score]).with_row_id(True).limit(count).to_arrow()


def _finite(found: pa.Table, scores: NDArray[np.float64]) -> _Found:
    # The zero vector of a row that is marked for deletion has no distance.
    kept = np.isfinite(scores)
    return found["_rowid"].to_numpy()[kept], scores[kept]


def _candidates(found: _Found, everything: bool) -> Candidates:
    rows, scores = found
    return Candidates(tuple(rows.tolist()), tuple(scores.tolist()), everything)


def _joined(indexed: _Found, fresh: _Found, count: int) -> Candidates:
    """Return the rows of both, the best first. A row that an index covers meanwhile may be in both."""
    rows = np.concatenate([indexed[0], fresh[0]])
    scores = np.concatenate([indexed[1], fresh[1]])
    first = np.unique(rows, return_index=True)[1]
    order = first[np.lexsort((first, -scores[first]))][:count]
    return _candidates((rows[order], scores[order]), len(indexed[0]) < count and len(fresh[0]) < count)


class Scored(NamedTuple):
    """A row: its row id, the score by which it is ordered, its cosine similarity, and its BM25.

    The larger the better. None if that search did not find the row.
    """

    row: int
    score: float
    vector: float | None = None
    text: float | None = None


def weight_of_words(words: int) -> float:
    """Return the weight of the word scores, from 0 to 1, for a question with this number of different words."""
    return TEXT_WEIGHT * min(1.0, SHORT_QUESTION_WORDS / max(1, words))


def fused(near: Candidates, worded: Candidates, text_weight: float = TEXT_WEIGHT) -> list[Scored]:
    """Return the rows of both, the best first.

    Cosines and BM25 are of unlike scales, and how far apart they lie depends on the question. So each score counts by
    how many standard deviations it is above the mean of all these rows. A row that words did not find has a BM25 of 0
    where all that hold a word are known, so that one passage with a rare word stands out; otherwise, and by vector, a
    row that is not among the candidates has the least score of these.

    Args:
        near: Rows by vector.
        worded: Rows by words.
        text_weight: What the words' scores count; the vectors' have the rest of 1.
    """
    vectors = dict(zip(near.rows, near.scores, strict=True))
    texts = dict(zip(worded.rows, worded.scores, strict=True))
    rows = list(dict.fromkeys((*near.rows, *worded.rows)))
    by_vector = _standard(rows, vectors, min(near.scores, default=0.0))
    by_text = _standard(rows, texts, 0.0 if worded.all else min(worded.scores, default=0.0))
    scored = [
        Scored(row, (1 - text_weight) * vector + text_weight * text, vectors.get(row), texts.get(row))
        for row, vector, text in zip(rows, by_vector, by_text, strict=True)
    ]
    return sorted(scored, key=lambda each: (-each.score, each.row))


def _standard(rows: Sequence[int], scores: Mapping[int, float], absent: float) -> list[float]:
    """Return the standard score (https://en.wikipedia.org/wiki/Standard_score) of each row."""
    values = [scores.get(row, absent) for row in rows]
    mean, deviation = fmean(values) if values else 0.0, pstdev(values) if values else 0.0
    return [(value - mean) / (deviation or 1.0) for value in values]
