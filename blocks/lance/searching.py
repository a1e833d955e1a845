"""Questions to the chunk table: by vector, by words, or by both."""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from prefect_ollama.blocks.chunk import Region
from prefect_ollama.blocks.errors import ConfigurationError, TableError
from prefect_ollama.blocks.lance.document import Hit
from prefect_ollama.blocks.lance.tables import short
from prefect_ollama.blocks.sealed import harmless

Mode = Literal["vector", "text", "hybrid"]

COLUMNS: Final = (
    "text", "path", "source", "page_from", "page_to", "heading", "doc_id", "id", "position", "regions"
)  # fmt: skip
# With IVF_SQ the recall of the ten nearest is .98; looking again at ten times as many makes it 1.0.
REFINE: Final = 10
PROBES: Final = 32
# Rows on their way out (see `rows.tombstones`) may be among those found by words.
SPARE: Final = 4
# How many of each kind a hybrid search fuses: what is far down both lists may come first in their union.
DEPTH: Final = 50


def search(
    table: Any, vector: NDArray[np.float32] | None, *, text: str, limit: int, mode: Mode, where: str
) -> list[Hit]:
    """Return the chunks that answer best, the best first.

    Args:
        table: The chunk table.
        vector: The question's vector, shape (dimension,), or None for a search by words.
        text: The question's words; a search by vector does without.
        limit: How many chunks to return at most.
        mode: `vector` by cosine similarity, `text` by BM25, `hybrid` by the reciprocal ranks of both.
        where: SQL filter, built with `filters`, or empty.

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
    if mode == "vector":
        query, column = _nearest(table.search(vector)), "_distance"
    elif mode == "text":
        query, column = table.search(text, query_type="fts"), "_score"
    else:
        from lancedb.rerankers import RRFReranker

        both = table.search(query_type="hybrid").vector(vector).text(text)
        query, column = _nearest(both).rerank(RRFReranker()), "_relevance_score"
    if where:
        query = query.where(where)
    if mode != "hybrid":  # of which both halves would warn that their own scores were not asked for
        query = query.select([*COLUMNS, column])
    try:
        found = query.limit(max(DEPTH, limit) if mode == "hybrid" else limit + SPARE).to_arrow()
    except (RuntimeError, ValueError, OSError) as error:
        raise TableError(
            f"The search failed: {short(error)}.",
            state="The table was not changed.",
            remedy="If a filter was given, check its SQL; else check the rights on the table.",
        ) from harmless(error)
    return _hits(found, column, mode)[:limit]


def _nearest(query: Any) -> Any:
    return query.distance_type("cosine").nprobes(PROBES).refine_factor(REFINE)


def _hits(found: pa.Table, column: str, mode: Mode) -> list[Hit]:
    return [
        Hit(
            text=row["text"],
            path=row["path"],
            source=row["source"],
            page_from=row["page_from"],
            page_to=row["page_to"],
            heading=row["heading"],
            score=1.0 - row[column] if mode == "vector" else row[column],
            doc_id=row["doc_id"],
            chunk_id=row["id"],
            position=row["position"],
            regions=tuple(Region(**region) for region in row["regions"]),
        )
        for row in found.to_pylist()
        if row["doc_id"]
    ]
