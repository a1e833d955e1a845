"""Questions to the chunk table: by vector, by words, or by both.

Guarantees: a text is one hit, wherever else it stands too, and there are as many hits as were asked for if the table
has so many different texts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from prefect_ollama.blocks.documents import Hit, Place, Region
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.lance._damage import failure
from prefect_ollama.blocks.lance._words import asked_words
from prefect_ollama.blocks.lance.filters import both, one_of
from prefect_ollama.blocks.lance.spec import StoreSpec
from prefect_ollama.blocks.secrets import harmless

Mode = Literal["vector", "text", "hybrid"]

COLUMNS: Final = (
    "text", "text_hash", "path", "source", "page_from", "page_to", "heading", "doc_id", "id", "position", "regions"
)  # fmt: skip
# A table that an earlier version made, and that nobody could write to since, lacks these.
LATER_COLUMNS: Final = ("title", "page_label_from", "page_label_to")
# With IVF_SQ the recall of the ten nearest is .98; looking again at ten times as many makes it 1.0.
REFINE: Final = 10
PROBES: Final = 32
# Rows marked for deletion (see `rows.tombstones`) may be among those found by words.
SPARE: Final = 4
# How many of each kind a hybrid search fuses: what is far down both lists may come first in their union.
DEPTH: Final = 50
# Where the rows found have too few different texts, as many more are asked for. Most questions need one step.
DEEPER: Final = 4
# A rank counts 1 / (RANK_OFFSET + rank), see Cormack et al. 2009, "Reciprocal Rank Fusion".
RANK_OFFSET: Final = 60
PLACES: Final = 100
"""Other places that a hit lists."""


def search(
    table: Any,
    vector: NDArray[np.float32] | None,
    *,
    text: str,
    limit: int,
    mode: Mode,
    where: str,
    spec: StoreSpec | None = None,
) -> list[Hit]:
    """Return the passages that answer best, the best first.

    Args:
        table: The chunk table.
        vector: The question's vector, shape (dimension,), or None for a search by words.
        text: The question's words; a search by vector does without.
        limit: How many passages to return at most.
        mode: `vector` by cosine similarity, `text` by BM25, `hybrid` by the reciprocal ranks of both.
        where: SQL filter, built with `filters`, or empty.
        spec: The table's place, with which an error says more.

    Raises:
        ConfigurationError: The mode lacks its vector or text, or the limit is below 1.
        TableError: The table cannot answer, for example because the filter is wrong.
    """
    if limit < 1:
        raise ConfigurationError(f"A search for {limit} chunks finds none.", remedy="Ask for 1 or more.")
    if mode in ("vector", "hybrid") and vector is None:
        raise ConfigurationError(f"A search by {mode!r} needs the question's vector.")
    if mode in ("text", "hybrid") and not text.strip():
        raise ConfigurationError(f"A search by {mode!r} needs words.")
    try:
        if mode == "vector":
            found = _by_vector(table, vector, limit, where)
        elif mode == "text":
            found = _by_words(table, text, limit, where)
        else:
            depth = max(DEPTH, limit)
            near = _by_vector(table, vector, depth, where)
            found = _fused(near, _by_words(table, text, depth, where), limit)
        return _with_places(table, found, where)
    except (RuntimeError, ValueError, OSError) as error:
        raise failure(
            "The search failed",
            error,
            spec,
            state="The table was not changed.",
            remedy="If a filter was given, check its SQL.",
        ) from harmless(error)


_Found = list[tuple[str, Hit]]
"""Hits, the best first, each with the hash of its text."""


def _by_vector(table: Any, vector: NDArray[np.float32] | None, limit: int, where: str) -> _Found:
    columns = [*_columns(table), "_distance"]

    def rows(count: int) -> pa.Table:
        query = table.search(vector).distance_type("cosine").nprobes(PROBES).refine_factor(REFINE)
        found = _answer(query, count, where, columns)
        if len(found) < count and table.count_rows() > len(found):
            # The cells of the index that were looked at have no more: look at all vectors.
            found = _answer(query.bypass_vector_index(), count, where, columns)
        return found

    return _different(rows, limit, lambda row: 1.0 - row["_distance"])


def _by_words(table: Any, text: str, limit: int, where: str) -> _Found:
    from lancedb.query import MatchQuery

    # A table that an earlier version made, and that nobody could write to since, has an index over `text` only.
    column, asked = ("words", asked_words(text)) if "words" in table.schema.names else ("text", text)
    if not asked:
        return []

    columns = [*_columns(table), "_score"]

    def rows(count: int) -> pa.Table:
        match = MatchQuery(asked, column)  # type: ignore[call-arg]  # its defaults are pydantic's
        return _answer(table.search(match, query_type="fts"), count, where, columns)

    return _different(rows, limit, lambda row: row["_score"])


def _columns(table: Any) -> list[str]:
    """Columns of a hit that the table has."""
    present = table.schema.names
    return [*COLUMNS, *(name for name in LATER_COLUMNS if name in present)]


def _answer(query: Any, count: int, where: str, columns: Sequence[str]) -> pa.Table:
    if where:
        query = query.where(where)
    return query.select(list(columns)).limit(count).to_arrow()


def _different(
    rows: Callable[[int], pa.Table], limit: int, score: Callable[[dict[str, Any]], float]
) -> _Found:
    """Return hits of different texts, as many as asked for or there are."""
    count = limit + SPARE
    while True:
        table = rows(count)
        found: dict[str, Hit] = {}
        for row in table.to_pylist():
            if row["doc_id"]:
                hit = _hit(row, score(row))
                known = found.setdefault(row["text_hash"], hit)
                # Of equal ones the order is chance; so that an answer stays the same, the first place is taken.
                if hit.score == known.score and _order(hit) < _order(known):
                    found[row["text_hash"]] = hit
        if len(found) >= limit or len(table) < count:
            return list(found.items())[:limit]
        count *= DEEPER


def _fused(near: _Found, worded: _Found, limit: int) -> _Found:
    """Return the best of two lists, by the sum of their reciprocal ranks."""
    scores: dict[str, float] = {}
    hits: dict[str, Hit] = {}
    for some in (near, worded):
        for rank, (text, hit) in enumerate(some, 1):
            scores[text] = scores.get(text, 0.0) + 1 / (RANK_OFFSET + rank)
            hits.setdefault(text, hit)
    best = sorted(scores, key=lambda text: (-scores[text], _order(hits[text])))[:limit]
    return [(text, replace(hits[text], score=scores[text])) for text in best]


def _with_places(table: Any, found: Sequence[tuple[str, Hit]], where: str) -> list[Hit]:
    """Return the hits, each with the other places of its text."""
    if not found:
        return []
    condition = both(one_of("text_hash", [text for text, _ in found]), "doc_id != ''", where)
    columns = ["text_hash", "id", "source", "path", "page_from", "page_to"]
    rows = table.search().where(condition).select(columns).to_arrow().to_pylist()
    hits = {text: hit.chunk_id for text, hit in found}
    others: dict[str, list[Place]] = {text: [] for text in hits}
    for row in rows:
        if row["id"] != hits[row["text_hash"]]:
            place = Place(row["source"], row["path"], row["page_from"], row["page_to"])
            others[row["text_hash"]].append(place)
    for places in others.values():
        places.sort(key=lambda place: (place.source, place.path, place.page_from))
    return [
        replace(hit, also_in=tuple(others[text][:PLACES]), copies=len(others[text])) for text, hit in found
    ]


def _order(hit: Hit) -> tuple[str, str, int]:
    return hit.source, hit.path, hit.position


def _hit(row: dict[str, Any], score: float) -> Hit:
    return Hit(
        text=row["text"],
        path=row["path"],
        source=row["source"],
        page_from=row["page_from"],
        page_to=row["page_to"],
        heading=row["heading"],
        score=score,
        doc_id=row["doc_id"],
        chunk_id=row["id"],
        position=row["position"],
        regions=tuple(Region(**region) for region in row["regions"]),
        **{name: row.get(name, "") for name in LATER_COLUMNS},
    )
