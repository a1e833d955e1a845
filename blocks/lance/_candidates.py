"""Rows that may answer a question, by vector and by words: their row ids and scores, and nothing read but these.

Guarantees: rows that no index covers yet are among them. Where a filter leaves few rows, the nearest vectors are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from prefect_ollama.blocks.lance._indices import cells_for
from prefect_ollama.blocks.lance._words import asked_words

# Share of the index's cells that a search by vector looks into. Recall of the ten nearest among the 100,000
# vectors of `benchmarks.search` is 0.994 with a tenth of them and 1.000 with a quarter.
PROBED_SHARE: Final = 0.2

PROBES_LEAST: Final = 32
PROBES_MOST: Final = 64

# The index keeps numbers of 8 bits. Three times as many rows are compared again by their own vectors: so recall
# is as good as with ten times as many (0.988 becomes 0.994 where a tenth of the cells is looked into).
REFINE: Final = 3

# Rows that a filter lets through of which all vectors are compared, which takes some 10 ms.
EXACT_ROWS: Final = 5_000


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


def by_vector(
    table: Any, vector: NDArray[np.float32], count: int, where: str, *, exact: bool = True
) -> Candidates:
    """Return the rows whose vectors are nearest by cosine.

    Args:
        table: The chunk table, at one version.
        vector: Shape (dimension,).
        count: How many.
        where: SQL filter, or empty.
        exact: Whether their order is that of their own vectors, and not of the index's 8 bits.
    """

    def query() -> Any:
        return table.search(vector).distance_type("cosine")

    def indexed(least: int, most: int) -> pa.Table:
        asked = query().minimum_nprobes(least).maximum_nprobes(most)
        return _answer(asked.refine_factor(REFINE) if exact else asked, count, where, "_distance")

    if where and int(table.count_rows(where)) <= EXACT_ROWS:
        found = _answer(query().bypass_vector_index(), count, where, "_distance")
    else:
        probes = min(max(PROBES_LEAST, round(PROBED_SHARE * cells_for(int(table.count_rows())))), PROBES_MOST)
        # Without a limit (0), LanceDB 0.40 reads all cells of the index (`explain_plan`), also where these have enough
        # rows. That takes longer than all the rest, so only a filter, which may leave few rows in these, has none.
        found = indexed(probes, 0 if where else probes)
        if not where and len(found) < count:
            found = indexed(probes, 0)
    return _candidates(found, 1.0 - found["_distance"].to_numpy().astype(np.float64), count)


def by_words(table: Any, text: str, count: int, where: str) -> Candidates:
    """Return the rows that hold words of a text, by BM25; none where it has no words.

    Args:
        table: The chunk table, at one version.
        text: The question.
        count: How many.
        where: SQL filter, or empty.
    """
    from lancedb.query import MatchQuery

    # A table that an earlier version made, and that nobody could write to since, has an index over `text` only.
    column, asked = ("words", asked_words(text)) if "words" in table.schema.names else ("text", text)
    if not asked:
        return Candidates()
    match = MatchQuery(asked, column)  # type: ignore[call-arg]  # its defaults are pydantic's
    found = _answer(table.search(match, query_type="fts"), count, where, "_score")
    return _candidates(found, found["_score"].to_numpy().astype(np.float64), count)


def _answer(query: Any, count: int, where: str, score: str) -> pa.Table:
    if where:
        query = query.where(where)
    return query.select([score]).with_row_id(True).limit(count).to_arrow()


def _candidates(found: pa.Table, scores: NDArray[np.float64], count: int) -> Candidates:
    # The zero vector of a row that is marked for deletion has no distance.
    kept = np.isfinite(scores)
    rows = found["_rowid"].to_numpy()[kept]
    return Candidates(tuple(rows.tolist()), tuple(scores[kept].tolist()), len(found) < count)
